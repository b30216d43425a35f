/* epoll: level, edge, one shot, modification, nesting, closing of what is watched, and its errors. */
#include "guest.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

static int ep, end[2];

static void wait_for(const char *what)
{
    struct epoll_event events[8];
    int count = epoll_wait(ep, events, 8, 0);
    say("%s: %d", what, count);
    for (int i = 0; i < count; i++)
        say(" [%x %lu]", events[i].events, events[i].data.u64);
    say("\n");
}

static int control(int op, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = events & 0xfff};
    return epoll_ctl(ep, op, fd, &event);
}

/* Of those who watch exclusively and wait, one is woken for one event. */
static void exclusive(void)
{
    int source[2], woken[2], left = 0;
    pid_t children[3];
    char byte;
    CHECK(pipe(source) == 0 && pipe2(woken, O_NONBLOCK) == 0);
    for (int i = 0; i < COUNT(children); i++)
        children[i] = CHILD(
            struct epoll_event event = {.events = EPOLLIN | EPOLLET | EPOLLEXCLUSIVE}; int own = epoll_create1(0);
            CHECK(epoll_ctl(own, EPOLL_CTL_ADD, source[0], &event) == 0 && epoll_wait(own, &event, 1, 10000) == 1);
            CHECK(write(woken[1], "x", 1) == 1));
    nap(200);
    for (int i = 0; i < COUNT(children); i++) {
        CHECK(write(source[1], "x", 1) == 1);
        nap(100);
        for (left = 0; read(woken[0], &byte, 1) == 1; left++)
            ;
        say("event %d woke %d\n", i, left);
        CHECK(read(source[0], &byte, 1) == 1);
    }
    for (int i = 0; i < COUNT(children); i++)
        CHECK(reap(children[i]) == 0);
}

/* A read makes an edge only where there was no room before. */
static void room_by_edges(void)
{
    static char lots[65536];

    TRY(control(EPOLL_CTL_MOD, end[1], EPOLLOUT | EPOLLET));
    wait_for("room");
    CHECK(read(end[0], lots, 1) == 1);
    wait_for("as much as before");
    CHECK(read(end[0], lots, sizeof lots) > 0 && write(end[1], lots, sizeof lots) == sizeof lots);
    wait_for("full");
    CHECK(read(end[0], lots, 4095) == 4095);
    wait_for("almost");
    CHECK(read(end[0], lots, 1) == 1);
    wait_for("room again");
    CHECK(read(end[0], lots, 5000) == 5000);
    wait_for("more of it");
}

int main(void)
{
    char buffer[100];
    exclusive();
    ep = TRY(epoll_create1(EPOLL_CLOEXEC));
    CHECK(pipe2(end, O_NONBLOCK) == 0);
    TRY(control(EPOLL_CTL_ADD, end[0], EPOLLIN));
    TRY(control(EPOLL_CTL_ADD, end[0], EPOLLIN));
    TRY(control(EPOLL_CTL_DEL, end[1], 0));
    TRY(control(EPOLL_CTL_MOD, end[1], 0));
    TRY(control(EPOLL_CTL_ADD, 99, 0));
    TRY(control(EPOLL_CTL_ADD, ep, 0));
    TRY(control(7, end[1], 0));
    int file = open("/proc/self/exe", O_RDONLY);
    TRY(control(EPOLL_CTL_ADD, file, EPOLLIN));
    wait_for("nothing");
    CHECK(write(end[1], "ab", 2) == 2);
    wait_for("level");
    wait_for("level again");
    TRY(control(EPOLL_CTL_MOD, end[0], EPOLLIN | EPOLLET));
    wait_for("edge");
    wait_for("edge again");
    CHECK(read(end[0], buffer, 1) == 1);
    wait_for("edge after a partial read");
    CHECK(write(end[1], "c", 1) == 1);
    wait_for("edge after more came");
    TRY(control(EPOLL_CTL_MOD, end[0], EPOLLIN | EPOLLONESHOT));
    wait_for("one shot");
    wait_for("one shot again");
    TRY(control(EPOLL_CTL_MOD, end[0], EPOLLIN | EPOLLONESHOT));
    wait_for("rearmed");
    TRY(control(EPOLL_CTL_ADD, end[1], EPOLLOUT));
    wait_for("the other end");
    room_by_edges();
    TRY(control(EPOLL_CTL_DEL, end[1], 0));
    TRY(control(EPOLL_CTL_MOD, end[0], EPOLLIN));
    CHECK(close(end[1]) == 0);
    wait_for("hang-up");
    int copy = dup(end[0]);
    close(end[0]);
    wait_for("closed, but a duplicate lives");
    close(copy);
    wait_for("closed for good");

    int inner = epoll_create1(0), event_fd = eventfd(0, 0);
    struct epoll_event in = {.events = EPOLLIN, .data.u64 = 5};
    CHECK(epoll_ctl(inner, EPOLL_CTL_ADD, event_fd, &in) == 0);
    TRY(control(EPOLL_CTL_ADD, inner, EPOLLIN));
    wait_for("nested, idle");
    eventfd_write(event_fd, 1);
    wait_for("nested, ready");
    struct pollfd polled = {ep, POLLIN, 0};
    TRY(poll(&polled, 1, 0));
    TRY(epoll_ctl(inner, EPOLL_CTL_ADD, ep, &in));
    eventfd_t value;
    eventfd_read(event_fd, &value);
    wait_for("nested, drained");
    double start = seconds();
    TRY(epoll_wait(ep, &in, 1, 40));
    CHECK(seconds() - start >= 0.04);
    pid_t child = CHILD(nap(30); eventfd_write(event_fd, 2));
    TRY(epoll_wait(ep, &in, 1, -1));
    reap(child);
    TRY(epoll_wait(ep, &in, 0, 0));
    TRY(syscall(SYS_epoll_wait, ep, &in, INT_MAX, 0));
    TRY(epoll_wait(ep, BAD, 1, 0));
    TRY(epoll_wait(ep, (void *)(1UL << 63), 1, 0)); /* though there may be nothing to say */
    TRY(epoll_wait(file, &in, 1, 0));
    TRY(epoll_wait(99, &in, 1, 0));
    TRY(epoll_create(0));
    TRY(epoll_create1(1));
    return done();
}
