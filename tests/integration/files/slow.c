/* What others get done while one process waits for a slow file: `slow OPERATION DIRECTORY`. */
#include "../../guests/guest.h"
#include <dirent.h>
#include <sys/file.h>
#include <sys/statfs.h>

#define BLOCK 4096

static char buffer[BLOCK];
static const char *name = "a"; /* of what is read */

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int must_open(const char *path, int flags)
{
    int fd = open(path, flags);
    CHECK(fd >= 0);
    return fd;
}

static void read_block(int fd, int number, int seen)
{
    CHECK(pread(fd, buffer, BLOCK, number * BLOCK) == BLOCK && buffer[0] == seen && buffer[BLOCK - 1] == seen);
}

static void look(const char *operation)
{
    struct stat status;
    struct statfs statistics;
    int fd;

    if (!strcmp(operation, "read")) {
        read_block(must_open(name, O_RDONLY), 3, 3);
    } else if (!strcmp(operation, "stat")) {
        CHECK(stat("b", &status) == 0 && status.st_size == 16 * BLOCK);
    } else if (!strcmp(operation, "open")) {
        CHECK(close(must_open("c", O_RDONLY)) == 0);
    } else if (!strcmp(operation, "list")) {
        DIR *directory = opendir(".");
        int entries = 0;
        while (readdir(directory))
            entries++;
        CHECK(entries == 6);
    } else if (!strcmp(operation, "write")) {
        fd = must_open("d", O_RDWR);
        memset(buffer, 77, BLOCK);
        CHECK(pwrite(fd, buffer, BLOCK, 5 * BLOCK) == BLOCK);
        CHECK(lseek(fd, 6 * BLOCK, SEEK_SET) == 6 * BLOCK && write(fd, buffer, BLOCK) == BLOCK);
        CHECK(lseek(fd, 0, SEEK_CUR) == 7 * BLOCK);
        read_block(fd, 5, 77);
        read_block(fd, 6, 77);
        CHECK(fsync(fd) == 0);
        close(fd);
        fd = must_open("d", O_WRONLY | O_APPEND);
        CHECK(write(fd, buffer, BLOCK) == BLOCK && lseek(fd, 0, SEEK_CUR) == 17 * BLOCK);
        CHECK(fstat(fd, &status) == 0 && status.st_size == 17 * BLOCK);
    } else {
        CHECK(!strcmp(operation, "statfs") && statfs(".", &statistics) == 0 && statistics.f_blocks == 1000);
    }
}

/* Two processes read by one description: each byte once. */
static void share(void)
{
    int fd = must_open("a", O_RDONLY), results[2], seen = 0;
    char got;

    CHECK(pipe(results) == 0);
    for (int i = 0; i < 2; i++) {
        if (fork() == 0) {
            CHECK(read(fd, buffer, BLOCK) == BLOCK && write(results[1], buffer, 1) == 1);
            _exit(0);
        }
    }
    for (int i = 0; i < 2; i++) {
        CHECK(read(results[0], &got, 1) == 1);
        seen |= 1 << got;
        CHECK(wait(NULL) > 0);
    }
    CHECK(seen == 3 && lseek(fd, 0, SEEK_CUR) == 2 * BLOCK);
}

/* Who waits for ever is killed. */
static void be_killed(void)
{
    double start = now();
    int status;
    pid_t child = fork();

    if (child == 0)
        look("read");
    usleep(200000);
    CHECK(waitpid(child, &status, WNOHANG) == 0 && kill(child, SIGKILL) == 0);
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    CHECK(now() - start < 5);
}

/* A call that always reaches the sentry's kernel, until the child has ended: how many there were, and the longest. */
static void work_beside(const char *operation)
{
    double longest = 0, before = now(), after;
    pid_t child = fork();
    int calls = 0, status;

    if (child == 0) {
        look(operation);
        _exit(0);
    }
    for (before = now(); waitpid(child, &status, WNOHANG) == 0; before = after) {
        umask(022);
        calls++;
        after = now();
        if (after - before > longest)
            longest = after - before;
    }
    CHECK(status == 0);
    say("%d %.3f\n", calls, longest);
}

int main(int argc, char **argv)
{
    CHECK(argc == 3 && chdir(argv[2]) == 0);
    if (!strcmp(argv[1], "share"))
        share();
    else if (!strcmp(argv[1], "kill"))
        be_killed();
    else if (strcmp(argv[1], "twice") != 0)
        work_beside(argv[1]);
    else {
        look("read");
        name = "b"; /* of the other all is known now */
        work_beside("read");
    }
    return 0;
}
