/* Directories: complete listings, offsets, types, change while listing, small buffers, creation and removal. */
#include "guest.h"
#include <dirent.h>

static int by_name(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }

int main(void)
{
    enum { FILES = 700 };
    char name[300];
    static char *names[FILES + 10];
    scratch();
    TRY(mkdir("d", 0700));
    TRY(mkdir("d", 0700));
    TRY(mkdir("d/", 0700));
    TRY(mkdir("d/.", 0700));
    TRY(mkdir("", 0700));
    TRY(mkdir("no/d", 0700));
    TRY(rmdir("d/."));
    TRY(rmdir("d/.."));
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "d/%0*d", 1 + i % 200, i);
        int fd = open(name, O_CREAT | O_WRONLY | O_EXCL, 0600);
        CHECK(fd >= 0 && close(fd) == 0);
    }
    DIR *dir = opendir("d");
    struct dirent *entry;
    int count = 0, dots = 0;
    while ((entry = readdir(dir))) {
        int dot = entry->d_name[0] == '.';
        CHECK(entry->d_type == (dot ? DT_DIR : DT_REG) && entry->d_ino > 0);
        if (dot)
            dots++;
        else
            names[count++] = strdup(entry->d_name);
    }
    qsort(names, count, sizeof *names, by_name);
    for (int i = 1; i < count; i++)
        CHECK(strcmp(names[i - 1], names[i]) != 0);
    say("%d files, %d dots\n", count, dots);
    rewinddir(dir);
    for (int i = 0; i < 100; i++)
        CHECK(readdir(dir));
    long position = telldir(dir);
    strcpy(name, readdir(dir)->d_name);
    for (int i = 0; i < 300; i++)
        CHECK(readdir(dir));
    seekdir(dir, position);
    say("seekdir comes back: %d\n", strcmp(name, readdir(dir)->d_name) == 0);
    rewinddir(dir);
    int removed = 0;
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            removed += unlinkat(dirfd(dir), entry->d_name, 0) == 0;
    say("removed while listing: %d\n", removed);
    TRY(rmdir("d"));
    errno = 0;
    rewinddir(dir);
    say("a removed directory lists: %s\n", readdir(dir) ? "something" : strerrorname_np(errno));
    int file = open("f", O_CREAT | O_RDWR, 0600), here = open(".", O_RDONLY);
    char buffer[4096];
    TRY(syscall(SYS_getdents64, file, buffer, sizeof buffer));
    TRY(syscall(SYS_getdents64, here, buffer, 1));
    TRY(syscall(SYS_getdents64, here, BAD, 4096));
    TRY(syscall(SYS_getdents64, 99, buffer, sizeof buffer));
    CHECK(mkdir("a", 0755) == 0 && mkdir("a/b", 0755) == 0 && symlink("x", "s") == 0 && mkfifo("p", 0600) == 0);
    struct stat st;
    CHECK(stat("a", &st) == 0);
    TRY(rmdir("a"));
    TRY(rmdir("f"));
    TRY(rmdir("s"));
    TRY(rmdir("a/b/"));
    TRY(unlink("a"));
    TRY(unlinkat(AT_FDCWD, "a", AT_REMOVEDIR));
    struct dirent **sorted;
    int found = scandir(".", &sorted, NULL, alphasort);
    for (int i = 0; i < found; i++)
        say("%s type %d\n", sorted[i]->d_name, sorted[i]->d_type);
    return done();
}
