/* poll, ppoll, select, pselect: events of pipes and files, hang-ups, bad descriptors, timeouts, signals. */
#include "guest.h"
#include <poll.h>
#include <sys/select.h>

static volatile int ticks;
static void tick(int signal UNUSED) { ticks++; }

static void show(const char *what, int fd, int events)
{
    struct pollfd polled = {fd, events, 0};
    int count = poll(&polled, 1, 0);
    say("%s: %d events %x\n", what, count, polled.revents);
}

int main(void)
{
    int end[2];
    char buffer[65536] = {0};
    CHECK(pipe(end) == 0);
    show("empty, read end", end[0], POLLIN | POLLOUT);
    show("empty, write end", end[1], POLLIN | POLLOUT);
    CHECK(write(end[1], buffer, 65536) == 65536);
    show("full, read end", end[0], POLLIN | POLLRDNORM);
    show("full, write end", end[1], POLLOUT);
    show("nothing asked", end[0], 0);
    int narrow[2]; /* there is room only where all of PIPE_BUF fits, so that a write of that does not wait */
    CHECK(pipe2(narrow, O_NONBLOCK) == 0 && write(narrow[1], buffer, 61440) == 61440);
    show("room for 4096", narrow[1], POLLOUT);
    CHECK(write(narrow[1], buffer, 1) == 1);
    show("for 4095", narrow[1], POLLOUT);
    TRY(write(narrow[1], buffer, 4096));
    TRY(write(narrow[1], buffer, 4095));
    close(narrow[0]), close(narrow[1]);
    close(end[1]);
    show("writer gone", end[0], POLLIN);
    CHECK(read(end[0], buffer, 65536) == 65536);
    show("and drained", end[0], POLLIN);
    close(end[0]);
    show("closed", end[0], POLLIN);
    show("negative", -1, POLLIN);
    CHECK(pipe(end) == 0 && close(end[0]) == 0);
    show("reader gone", end[1], POLLOUT);
    close(end[1]);
    int file = open("/proc/self/exe", O_RDONLY);
    show("a file", file, POLLIN | POLLOUT | POLLPRI);
    CHECK(pipe(end) == 0);
    struct pollfd two[2] = {{end[0], POLLIN, 0}, {file, POLLIN, 0}};
    TRY(poll(two, 2, 5000));
    double start = seconds();
    TRY(poll(two, 1, 50));
    CHECK(seconds() - start >= 0.05);
    pid_t child = CHILD(nap(30); write(end[1], "x", 1));
    TRY(poll(two, 1, -1));
    reap(child);
    fd_set in, out, except;
    FD_ZERO(&in); FD_ZERO(&out); FD_ZERO(&except);
    FD_SET(end[0], &in); FD_SET(end[1], &out); FD_SET(file, &in); FD_SET(end[0], &except);
    struct timeval limit = {5, 0};
    TRY(select(20, &in, &out, &except, &limit));
    say("in %d %d out %d except %d\n", !!FD_ISSET(end[0], &in), !!FD_ISSET(file, &in), !!FD_ISSET(end[1], &out), !!FD_ISSET(end[0], &except));
    CHECK(read(end[0], buffer, 1) == 1);
    FD_ZERO(&in); FD_SET(end[0], &in);
    limit = (struct timeval){0, 30000};
    TRY(select(20, &in, NULL, NULL, &limit));
    say("left %ld, set %d\n", (long)limit.tv_usec, !!FD_ISSET(end[0], &in));
    int broken[2]; /* ready for all, but found only in the sets that it is in */
    CHECK(pipe(broken) == 0 && close(broken[0]) == 0);
    for (int asked = 0; asked < 4; asked++) {
        FD_ZERO(&in); FD_ZERO(&out); FD_ZERO(&except);
        FD_SET(asked & 1 ? broken[1] : file, &in); FD_SET(asked & 2 ? broken[1] : file, &out); FD_SET(broken[1], &except);
        limit = (struct timeval){0, 1000};
        TRY(select(20, &in, &out, &except, &limit));
        say("in %d out %d except %d\n", !!FD_ISSET(broken[1], &in), !!FD_ISSET(broken[1], &out), !!FD_ISSET(broken[1], &except));
    }
    close(broken[1]);
    FD_ZERO(&in); FD_SET(20, &in);
    TRY(select(21, &in, NULL, NULL, NULL));
    TRY(select(-1, NULL, NULL, NULL, NULL));
    TRY(select(0, NULL, NULL, NULL, &(struct timeval){0, -1}));
    TRY(poll(BAD, 1, 0));
    TRY(poll(NULL, 0, 1));
    TRY(ppoll(two, 1, &(struct timespec){0, 1000000000}, NULL));
    handle(SIGALRM, 0, tick);
    sigset_t block = set_of(SIGALRM), none;
    sigemptyset(&none);
    sigprocmask(SIG_BLOCK, &block, NULL);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 10000}}, NULL);
    nap(30);
    CHECK(ticks == 0);
    TRY(ppoll(two, 1, &(struct timespec){5, 0}, &none));
    raise(SIGALRM);
    FD_ZERO(&in); FD_SET(end[0], &in);
    TRY(pselect(20, &in, NULL, NULL, &(struct timespec){5, 0}, &none));
    say("ticks %d\n", ticks);
    return done();
}
