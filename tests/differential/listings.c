/* A guest that lists a directory of the host's in pieces while it changes, goes back, and shares it: every name that
 * was there all the time must come once.  Its argument is a folder with directories `0`, `1` ..., of many files each. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAMES 400

static int seen[NAMES];
static long last; /* where the listing goes on after the last record */

static long piece(int fd, size_t size)
{
    static char buffer[1 << 16];
    long got = syscall(SYS_getdents64, fd, buffer, size);
    for (long at = 0; at < got;) {
        struct dirent64 *entry = (struct dirent64 *)(buffer + at);
        int number = atoi(entry->d_name + 1);
        if (entry->d_name[0] == 'f' && number >= 0 && number < NAMES)
            seen[number]++;
        last = entry->d_off;
        at += entry->d_reclen;
    }
    return got < 0 ? -errno : got;
}

static void rest(int fd, const char *what)
{
    int missing = 0, repeated = 0;
    long got;
    while ((got = piece(fd, 1000)) > 0)
        ;
    for (int i = 0; i < NAMES; i++) {
        missing += seen[i] == 0;
        repeated += seen[i] > 1;
    }
    printf("%s: %ld, %d missing, %d repeated\n", what, got, missing, repeated);
    fflush(stdout);
    memset(seen, 0, sizeof seen);
}

static int begin(const char *name)
{
    int fd = open(name, O_RDONLY | O_DIRECTORY);
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < 3; i++)
        piece(fd, 1000);
    return fd;
}

int main(int argc, char **argv)
{
    int fd, other;
    long here;
    if (argc != 2 || chdir(argv[1]))
        return 1;

    rest(open("0", O_RDONLY | O_DIRECTORY), "whole");

    fd = begin("0");
    close(openat(fd, "new", O_CREAT | O_WRONLY, 0600));
    rest(fd, "a new name");

    fd = begin("1");
    chmod("1", 0700);
    rest(fd, "other permissions");

    fd = begin("2");
    here = last;
    piece(fd, 1000);
    memset(seen, 0, sizeof seen);
    printf("back: %d\n", lseek(fd, 0, SEEK_SET) == 0);
    for (piece(fd, 48); last != here && piece(fd, 24) > 0;)
        ;
    printf("there: %d\n", lseek(fd, here, SEEK_SET) == here);
    rest(fd, "by small pieces, and on from a place");

    fd = begin("3");
    here = last;
    piece(fd, 2000);
    lseek(fd, here, SEEK_SET);
    memset(seen, 0, sizeof seen);
    other = begin("3"); /* what the first gave before that place comes from another description */
    close(openat(other, "new", O_CREAT | O_WRONLY, 0600));
    rest(fd, "two descriptions");

    fd = begin("4");
    if (fork() == 0) {
        piece(fd, 1000);
        lseek(fd, last, SEEK_SET);
        unlinkat(fd, "g0", 0);
        _exit(0);
    }
    wait(NULL);
    piece(fd, 1000);
    printf("a child reads on: %d\n", lseek(fd, 0, SEEK_CUR) >= last);
    lseek(fd, 0, SEEK_SET);
    memset(seen, 0, sizeof seen);
    rest(fd, "again");

    printf("no room: %ld\n", piece(begin("5"), 4) == -EINVAL ? -1L : 0L);
    return 0;
}
