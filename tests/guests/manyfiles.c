/* A process that ends with thousands of descriptors: they are closed when its parent hears of the end. */
#include "guest.h"

#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define FILES 3000

static int
count(int fd)
{
    int n = 0;

    while (dup(fd) >= 0 && n < FILES)
        n++;
    return n;
}

static void
child(int lock, int killed, int hold)
{
    CHECK(flock(lock, LOCK_EX | LOCK_NB) == 0);
    CHECK(count(hold) >= FILES);
    if (killed) {
        CHECK(write(hold, "x", 1) == 1);
        pause();
    }
    _exit(3);
}

static void
run(const char *how, int killed)
{
    int ends[2], lock = open("manyfiles", O_CREAT | O_RDWR, 0600), status;
    char byte;
    pid_t pid;

    CHECK(pipe(ends) == 0 && lock >= 0);
    pid = fork();
    if (pid == 0) {
        close(lock);
        lock = open("manyfiles", O_RDWR);
        close(ends[0]);
        child(lock, killed, ends[1]);
    }
    close(ends[1]);
    if (killed) {
        CHECK(read(ends[0], &byte, 1) == 1);
        kill(pid, SIGKILL);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    printf("%s: %s %d, the pipe has %d, the lock is %s\n", how, WIFSIGNALED(status) ? "signal" : "status",
           WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), (int)read(ends[0], &byte, 1),
           flock(lock, LOCK_EX | LOCK_NB) == 0 ? "free" : "held");
    close(ends[0]);
    close(lock);
}

int
main(void)
{
    struct rlimit limit = {FILES + 100, FILES + 100};

    scratch();
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    run("exit", 0);
    run("killed", 1);
    unlink("manyfiles");
    puts("EXIT-SUCCESS");
    return 0;
}
