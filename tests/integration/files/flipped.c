/* What is asked of a name while the host gives it to one of two files, now to this, now to that: no call fails that
   would not with either.  flipped NAME KIND ROUNDS; of the KIND `directories` both lead to one, in which f is a file. */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <unistd.h>

static int failed;

/* Return whether a call succeeded.  Zero, or the errno that it may have had instead, is as good. */
static int
ok(const char *what, long result, int other)
{
    if (result >= 0)
        return 1;
    if (errno != other) {
        printf("%s: %s\n", what, strerror(errno));
        failed = 1;
    }
    return 0;
}

static void
look(const char *name)
{
    char text[4096];
    struct stat found;
    struct statfs fs;

    ok("stat", stat(name, &found), 0);
    ok("lstat", lstat(name, &found), 0);
    ok("access", access(name, R_OK), 0);
    ok("statfs", statfs(name, &fs), 0);
    ok("readlink", readlink(name, text, sizeof text), EINVAL);
    ok("getxattr", getxattr(name, "user.x", text, sizeof text), ENODATA);
    ok("listxattr", listxattr(name, text, sizeof text), 0);
    int fd = open(name, O_RDONLY);
    if (ok("open", fd, 0)) {
        ok("fstat", fstat(fd, &found), 0);
        ok("read", read(fd, text, 1), S_ISDIR(found.st_mode) ? EISDIR : 0);
        if (S_ISREG(found.st_mode)) {
            ok("fgetxattr", fgetxattr(fd, "user.x", text, sizeof text), ENODATA);
            ok("flistxattr", flistxattr(fd, text, sizeof text), 0);
        }
        close(fd);
    }
    fd = open(name, O_PATH);
    if (ok("open of a place", fd, 0)) {
        ok("fstat of a place", fstat(fd, &found), 0);
        close(fd);
    }
}

static void
change(const char *name)
{
    ok("chmod", chmod(name, 0755), 0);
    ok("chown", chown(name, 0, 0), 0);
    ok("utimensat", utimensat(AT_FDCWD, name, NULL, 0), 0);
    ok("setxattr", setxattr(name, "user.x", "1", 1, 0), 0);
    ok("truncate", truncate(name, 5), EISDIR);
    int fd = open(name, O_RDWR | O_CREAT, 0600);
    if (ok("open to write", fd, EISDIR)) {
        ok("ftruncate", ftruncate(fd, 5), 0);
        ok("fchmod", fchmod(fd, 0755), 0);
        ok("fsetxattr", fsetxattr(fd, "user.x", "2", 1, 0), 0);
        ok("pwrite", pwrite(fd, "hello", 5, 0), 0);
        ok("fsync", fsync(fd), 0);
        close(fd);
    }
    fd = open(name, O_WRONLY | O_TRUNC);
    if (ok("open to overwrite", fd, EISDIR))
        close(fd);
}

static void
below(const char *name, int otherwise)
{
    char path[4096];
    struct stat found;

    snprintf(path, sizeof path, "%s/f", name);
    ok("stat below", stat(path, &found), otherwise);
    int fd = open(path, O_RDONLY);
    if (ok("open below", fd, otherwise))
        close(fd);
    fd = open(name, O_RDONLY | O_DIRECTORY);
    if (ok("open of a directory", fd, otherwise))
        close(fd);
}

int
main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    for (int round = atoi(argv[3]); round && !failed; round--) {
        look(argv[1]);
        change(argv[1]);
        below(argv[1], strcmp(argv[2], "directories") ? ENOTDIR : 0);
    }
    return failed;
}
