/* rename, link, symlink, unlink: over what, into what, across what, and what stays of an open file. */
#include "guest.h"

static void put(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(write(fd, path, strlen(path)) > 0 && close(fd) == 0);
}

static void show(const char *path)
{
    char text[50] = {0};
    int fd = open(path, O_RDONLY);
    struct stat st;
    if (fd < 0)
        say("%s: %s\n", path, strerrorname_np(errno));
    else {
        CHECK(fstat(fd, &st) == 0);
        say("%s: %ld links, %s\n", path, (long)st.st_nlink, read(fd, text, 49) >= 0 ? text : strerrorname_np(errno));
        close(fd);
    }
}

int main(void)
{
    char text[100] = {0};
    scratch();
    put("a"), put("b");
    TRY(rename("a", "b"));
    show("a"), show("b");
    TRY(link("b", "c"));
    show("c");
    TRY(rename("b", "c")); /* the same file: nothing happens */
    show("b");
    TRY(link("b", "c"));
    TRY(rename("nothing", "x"));
    mkdir("d", 0700), mkdir("e", 0700), mkdir("e/sub", 0700);
    TRY(rename("d", "b"));
    TRY(rename("b", "d"));
    TRY(rename("d", "e"));
    TRY(rename("e", "d"));
    TRY(rename("d", "d/sub/inner"));
    TRY(rename("d/sub", "d/sub"));
    TRY(rename("d/.", "y"));
    TRY(rename("d/sub", "moved"));
    TRY(rename("b", "d/"));
    TRY(rename("d/", "dd/"));
    TRY(syscall(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "c", RENAME_NOREPLACE));
    put("x1"), put("x2");
    TRY(syscall(SYS_renameat2, AT_FDCWD, "x1", AT_FDCWD, "x2", RENAME_EXCHANGE));
    show("x1");
    TRY(syscall(SYS_renameat2, AT_FDCWD, "x1", AT_FDCWD, "x2", 99));
    TRY(link("dd", "ddd"));
    TRY(symlink("x1", "s"));
    TRY(symlink("x1", "s"));
    TRY(symlink("", "empty"));
    TRY(readlink("s", text, 100));
    say("-> %s\n", text);
    TRY(readlink("s", text, 1));
    TRY(readlink("s", text, 0));
    TRY(readlink("x1", text, 100));
    TRY(link("s", "hard"));
    struct stat st;
    CHECK(lstat("hard", &st) == 0);
    say("a hard link to a link is a link: %d\n", S_ISLNK(st.st_mode));
    TRY(linkat(AT_FDCWD, "s", AT_FDCWD, "followed", AT_SYMLINK_FOLLOW));
    show("followed");
    for (int i = 0; i < 45; i++) {
        char from[10], to[10];
        snprintf(from, 10, i ? "l%d" : "x1", i - 1), snprintf(to, 10, "l%d", i);
        CHECK(symlink(from, to) == 0);
    }
    TRY(stat("l39", &st));
    TRY(stat("l40", &st));
    CHECK(symlink("loop2", "loop1") == 0 && symlink("loop1", "loop2") == 0);
    TRY(stat("loop1/x", &st));
    TRY(unlink("loop1"));
    int fd = open("x1", O_RDWR);
    TRY(unlink("x1"));
    TRY(pwrite(fd, "more", 4, 0));
    CHECK(fstat(fd, &st) == 0);
    say("links left %ld\n", (long)st.st_nlink); /* "followed" */
    TRY(unlink("followed"));
    fstat(fd, &st);
    TRY(pread(fd, text, 10, 0));
    say("links left %ld, still %s\n", (long)st.st_nlink, text);
    snprintf(text, sizeof text, "/proc/self/fd/%d", fd);
    char target[200] = {0};
    CHECK(readlink(text, target, 199) > 0);
    say("its name ends in%s\n", strrchr(target, ' '));
    TRY(unlink("nothing"));
    TRY(unlink("x2/"));
    TRY(rename("x2", ""));
    return done();
}
