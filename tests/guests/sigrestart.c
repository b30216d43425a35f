/* SA_RESTART: which calls go on after a handler, and which end with EINTR all the same. */
#include "guest.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static int feed[2];
static volatile int ticks, feed_at;

static void tick(int signal UNUSED)
{
    if (++ticks == feed_at)
        CHECK(write(feed[1], "x", 1) == 1);
}

static void start(int flags, int at)
{
    handle(SIGALRM, flags, tick);
    ticks = 0;
    feed_at = at;
    struct itimerval every = {{0, 20000}, {0, 20000}};
    setitimer(ITIMER_REAL, &every, NULL);
}

static void stop(void) { setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL); }

int main(void)
{
    char byte;
    CHECK(pipe(feed) == 0);
    start(SA_RESTART, 3);
    TRY(read(feed[0], &byte, 1));
    CHECK(ticks >= 3);
    stop();
    start(0, 0);
    TRY(read(feed[0], &byte, 1));
    stop();
    start(SA_RESTART, 0);
    struct pollfd polled = {feed[0], POLLIN, 0};
    TRY(poll(&polled, 1, 5000));
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(epoll, EPOLL_CTL_ADD, feed[0], &event);
    TRY(epoll_wait(epoll, &event, 1, 5000));
    fd_set set;
    FD_ZERO(&set);
    FD_SET(feed[0], &set);
    TRY(select(feed[0] + 1, &set, NULL, NULL, &(struct timeval){5, 0}));
    TRY(pause());
    struct timespec left = {0, 0};
    TRY(nanosleep(&(struct timespec){5, 0}, &left));
    CHECK(left.tv_sec == 4 && left.tv_nsec > 0);
    stop();
    int pair[2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    feed[1] = pair[1];
    start(SA_RESTART, 3);
    TRY(recv(pair[0], &byte, 1, 0));
    stop();
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){5, 0}, sizeof(struct timeval));
    start(SA_RESTART, 0);
    TRY(recv(pair[0], &byte, 1, 0)); /* with a timeout it never restarts: signal(7) */
    stop();
    pid_t child = CHILD(nap(150); _exit(3));
    start(SA_RESTART, 0);
    int status;
    CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 3 && ticks >= 2);
    stop();
    return done();
}
