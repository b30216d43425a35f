/* What several programs, in sandboxes and on the host, do in one directory at once; whatever none of them can see
   another way is an error.  together DIRECTORY NAME ROUNDS: prints how often it was let in by `entered`. */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE 4096

static const char *me;
static int round_;
static long let_in;

static void
fail(const char *what)
{
    printf("%s, round %d: %s: %s\n", me, round_, what, strerror(errno));
    exit(1);
}

/* Whether a call succeeded; an error that is none of two is one of ours. */
static int
done(long result, int expected, int other, const char *what)
{
    if (result >= 0)
        return 1;
    if (errno != expected && errno != other)
        fail(what);
    return 0;
}

static int
must(int result, const char *what)
{
    if (result < 0)
        fail(what);
    return result;
}

static void
is(int truth, const char *what)
{
    errno = 0;
    if (!truth)
        fail(what);
}

static const char *
own(const char *kind)
{
    static char names[4][64];
    static unsigned next;
    char *name = names[next++ % 4];

    snprintf(name, sizeof names[0], "%s.%s", kind, me);
    return name;
}

/* Every line arrives whole. */
static void
append(void)
{
    char line[32];
    int fd = must(open("log", O_WRONLY | O_CREAT | O_APPEND, 0644), "open of the log");
    int length = snprintf(line, sizeof line, "%s %06d\n", me, round_);

    is(write(fd, line, (size_t)length) == length, "append");
    close(fd);
}

/* Locks hold across sandboxes, and so does what is written or mapped below them. */
static void
count(void)
{
    struct flock lock = {.l_type = F_WRLCK};
    int fd = must(open("counter", O_RDWR), "open of the counter");
    uint64_t value;

    must(fcntl(fd, F_SETLKW, &lock), "lock");
    if (round_ % 2) {
        uint64_t *there = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        is(there != MAP_FAILED, "mmap");
        ++*(volatile uint64_t *)there;
        munmap(there, SIZE);
    } else {
        is(pread(fd, &value, sizeof value, 0) == sizeof value, "read of the counter");
        value++;
        is(pwrite(fd, &value, sizeof value, 0) == sizeof value, "write of the counter");
    }
    lock.l_type = F_UNLCK;
    must(fcntl(fd, F_SETLK, &lock), "unlock");
    close(fd);
}

/* What is renamed over is seen whole, old or new. */
static void
replace(void)
{
    char text[SIZE];
    struct stat found;
    const char *temporary = own("new");
    int fd = must(open(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0644), "open of a new file");

    memset(text, 'a' + round_ % 26, SIZE);
    is(write(fd, text, SIZE) == SIZE, "write of a new file");
    close(fd);
    must(rename(temporary, "current"), "rename over");
    for (int again = 0; again < 3; again++) {
        fd = must(open("current", again % 2 ? O_RDWR : O_RDONLY), "open of what is replaced");
        must(fstat(fd, &found), "fstat");
        is(found.st_size == SIZE, "size of what is replaced");
        is(read(fd, text, SIZE) == SIZE, "read of what is replaced");
        for (int i = 1; i < SIZE; i++)
            is(text[i] == text[0], "content of what is replaced");
        if (again % 2)
            must(fchmod(fd, 0644), "fchmod of what is replaced");
        close(fd);
        must(stat("current", &found), "stat of what is replaced");
        is(access("current", R_OK) == 0, "access to what is replaced");
        must(chmod("current", 0644), "chmod of what is replaced");
    }
}

/* Only one at a time is in here, without any lock. */
static void
entered(void)
{
    int64_t value;
    int fd = must(open("entered", O_RDWR), "open of entered");

    is(pread(fd, &value, sizeof value, 0) == sizeof value, "read of entered");
    value++;
    is(pwrite(fd, &value, sizeof value, 0) == sizeof value, "write of entered");
    close(fd);
    let_in++;
}

static void
exclude(void)
{
    int fd = open("door", O_CREAT | O_EXCL | O_WRONLY, 0600);

    if (done(fd, EEXIST, 0, "exclusive create")) {
        close(fd);
        entered();
        must(unlink("door"), "unlink of what is ours");
    }
    fd = must(open(own("mine"), O_CREAT | O_WRONLY, 0600), "create of a file to link");
    close(fd);
    if (done(link(own("mine"), "door"), EEXIST, 0, "link")) {
        struct stat found;

        entered();
        must(stat(own("mine"), &found), "stat of the link");
        is(found.st_nlink == 2, "number of links");
        must(unlink("door"), "unlink of a link");
    }
    if (done(mkdir("door", 0700), EEXIST, 0, "mkdir")) {
        entered();
        must(rmdir("door"), "rmdir of what is ours");
    }
    must(unlink(own("mine")), "unlink");
}

/* Directories that come and go. */
static void
directories(void)
{
    char name[64];
    int fd;

    done(mkdir("common", 0755), EEXIST, 0, "mkdir of a common one");
    snprintf(name, sizeof name, "common/%s", me);
    fd = open(name, O_CREAT | O_WRONLY, 0644);
    if (done(fd, ENOENT, 0, "create below a common one")) {
        close(fd);
        must(unlink(name), "unlink below a common one");
    }
    done(rmdir("common"), ENOTEMPTY, ENOENT, "rmdir of a common one");

    must(mkdir(own("one"), 0755), "mkdir");
    snprintf(name, sizeof name, "%s/file", own("one"));
    close(must(open(name, O_CREAT | O_WRONLY, 0644), "create below"));
    must(rename(own("one"), own("two")), "rename of a directory");
    snprintf(name, sizeof name, "%s/file", own("two"));
    must(access(name, F_OK), "access after a rename");
    must(unlink(name), "unlink after a rename");
    must(rmdir(own("two")), "rmdir after a rename");
}

static void
sizes(void)
{
    struct stat found;
    char text[100] = "";
    int fd = must(open(own("size"), O_RDWR | O_CREAT | O_APPEND, 0644), "open");

    must(ftruncate(fd, 0), "truncate to nothing");
    is(write(fd, text, 100) == 100, "write");
    must(truncate(own("size"), 50), "truncate");
    is(write(fd, text, 10) == 10, "append after a truncate");
    must(fstat(fd, &found), "fstat");
    is(found.st_size == 60, "size");
    close(fd);
    must(rename(own("size"), "anybodys"), "rename to a common name");
    done(unlink("anybodys"), ENOENT, 0, "unlink of a common name");
}

static void
list(void)
{
    DIR *directory = opendir(".");
    const struct dirent *entry;
    int seen = 0;

    is(directory != NULL, "opendir");
    while ((entry = readdir(directory)))
        seen += !strcmp(entry->d_name, "counter") || !strcmp(entry->d_name, "entered");
    is(seen == 2, "listing");
    closedir(directory);
}

int
main(int argc, char **argv)
{
    int rounds = argc == 4 ? atoi(argv[3]) : 0;

    if (argc != 4 || chdir(argv[1]) < 0)
        return 2;
    me = argv[2];
    for (round_ = 0; round_ < rounds; round_++) {
        append();
        count();
        replace();
        exclude();
        directories();
        sizes();
        list();
    }
    printf("%ld\n", let_in);
    return 0;
}
