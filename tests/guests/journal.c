/* What a database does at each commit: a journal is made, written, synced and removed, and its directory with it. */
#include "guest.h"
#include <dirent.h>

static void commit(int round)
{
    struct stat a, b;
    char page[512] = {0};

    CHECK(stat("d/journal", &a) == -1 && errno == ENOENT);
    int fd = open("d/journal", O_RDWR | O_CREAT | O_EXCL, 0640);
    CHECK(fd >= 0 && fstat(fd, &a) == 0 && a.st_size == 0 && a.st_nlink == 1 && (a.st_mode & 07777) == 0640);
    CHECK(write(fd, page, (size_t)(round % 512 + 1)) == round % 512 + 1 && fdatasync(fd) == 0);
    CHECK(fstat(fd, &a) == 0 && a.st_size == round % 512 + 1 && stat("d/journal", &b) == 0);
    CHECK(a.st_ino == b.st_ino && a.st_size == b.st_size && a.st_mtim.tv_sec >= b.st_ctim.tv_sec - 1);
    int directory = open("d", O_RDONLY | O_DIRECTORY);
    CHECK(directory >= 0 && fdatasync(directory) == 0 && fsync(directory) == 0);
    CHECK(openat(directory, "nothing", O_RDONLY) == -1 && errno == ENOENT);
    CHECK(faccessat(directory, "journal", R_OK, 0) == 0 && close(directory) == 0);
    CHECK(close(fd) == 0 && unlink("d/journal") == 0);
    CHECK(stat("d/journal", &a) == -1 && errno == ENOENT && access("d/journal", F_OK) == -1);
}

/* Names that come and go in every way are there, or are not. */
static void come_and_go(void)
{
    struct stat s;

    CHECK(stat("d/a", &s) == -1 && stat("d/b", &s) == -1);
    close(open("d/a", O_WRONLY | O_CREAT, 0600));
    TRY(stat("d/a", &s));
    TRY(rename("d/a", "d/b"));
    TRY(stat("d/a", &s));
    TRY(stat("d/b", &s));
    TRY(link("d/b", "d/a"));
    TRY(stat("d/a", &s));
    say("links %d\n", (int)s.st_nlink);
    TRY(unlink("d/b"));
    TRY(stat("d/b", &s));
    TRY(stat("d/a", &s));
    say("links %d\n", (int)s.st_nlink);
    TRY(unlink("d/a"));
    TRY(mkdir("d/a", 0700));
    TRY(stat("d/a", &s));
    say("directory %d\n", S_ISDIR(s.st_mode));
    close(open("d/a/f", O_WRONLY | O_CREAT, 0600));
    TRY(rename("d/a", "d/b"));
    TRY(stat("d/a/f", &s));
    TRY(stat("d/b/f", &s));
    TRY(unlink("d/b/f"));
    TRY(rmdir("d/b"));
    TRY(stat("d/b", &s));
    TRY(symlink("c", "d/b"));
    TRY(stat("d/b", &s));
    close(open("d/b", O_WRONLY | O_CREAT, 0600)); /* makes d/c */
    TRY(stat("d/b", &s));
    TRY(stat("d/c", &s));
    TRY(unlink("d/b"));
    close(open("d/x", O_WRONLY | O_CREAT, 0600));
    TRY(renameat2(AT_FDCWD, "d/x", AT_FDCWD, "d/c", RENAME_EXCHANGE));
    TRY(stat("d/x", &s));
    TRY(stat("d/c", &s));
}

/* A directory of the name of one that is gone is another one. */
static void again(void)
{
    struct stat s;
    char name[40];

    for (int round = 0; round < 3; round++) {
        TRY(mkdir("again", 0700));
        TRY(mkdir("again/below", 0700));
        for (int i = 0; i < 5; i++) {
            snprintf(name, sizeof name, "again/below/%d", i);
            CHECK(close(open(name, O_WRONLY | O_CREAT | O_EXCL, 0600)) == 0 && stat(name, &s) == 0);
        }
        for (int i = 0; i < 5; i++) {
            snprintf(name, sizeof name, "again/below/%d", i);
            CHECK(unlink(name) == 0 && stat(name, &s) == -1 && errno == ENOENT);
        }
        TRY(stat("again/below/x", &s));
        TRY(rmdir("again/below"));
        TRY(stat("again/below", &s));
        TRY(rmdir("again"));
    }
}

/* A directory that is open outlives its name, and is listed by whoever comes to that. */
static void open_directory(void)
{
    int fd = open("d", O_RDONLY | O_DIRECTORY), n = 0;
    DIR *listing = fdopendir(dup(fd));
    struct dirent *entry;

    while ((entry = readdir(listing)))
        n++;
    say("%d names\n", n);
    closedir(listing);
    TRY(mkdirat(fd, "e", 0700));
    int below = openat(fd, "e", O_RDONLY | O_DIRECTORY);
    TRY(rmdir("d/e"));
    TRY(openat(below, "f", O_WRONLY | O_CREAT, 0600));
    TRY(fsync(below));
    TRY(fchdir(fd));
    TRY(access("c", F_OK));
    TRY(chdir(".."));
    TRY((int)write(fd, "x", 1));
    close(fd);
}

int main(void)
{
    scratch();
    TRY(mkdir("d", 0755));
    for (int round = 0; round < 60; round++)
        commit(round * 8);
    come_and_go();
    again();
    open_directory();
    return done();
}
