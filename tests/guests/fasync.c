/* Signals for what becomes ready: O_ASYNC, F_SETOWN and F_SETOWN_EX, F_SETSIG, FIOASYNC. */
#include "guest.h"
#include <sys/ioctl.h>
#include <sys/socket.h>

static volatile int count, code, told_fd, number;
static int end[2];

static void on_signal(int signal, siginfo_t *info, void *context UNUSED)
{
    count++;
    number = signal == SIGIO ? 0 : signal - SIGRTMIN;
    code = info->si_code;
    told_fd = info->si_code == SI_KERNEL ? -1 : info->si_fd;
}

static void told(const char *after)
{
    nap(20);
    say("%s: %d", after, count);
    if (count)
        say(" signal %d code %d fd %s", number, code, told_fd == end[0] ? "reader" : told_fd == end[1] ? "writer" : "?");
    say("\n");
    count = 0;
}

static void owner(int fd)
{
    struct f_owner_ex ex = {7, 7};
    CHECK(fcntl(fd, F_GETOWN_EX, &ex) == 0);
    say("owner type %d %s\n", ex.type, ex.pid == 0 ? "nobody" : ex.pid == getpid() ? "me" : ex.pid == getpgrp() ? "mine" : "?");
}

int main(void)
{
    char buffer[100];
    int pair[2];
    struct sigaction action = {.sa_flags = SA_SIGINFO, .sa_sigaction = on_signal};
    CHECK(pipe(end) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(sigaction(SIGIO, &action, NULL) == 0 && sigaction(SIGRTMIN + 3, &action, NULL) == 0);
    setpgid(0, 0);
    owner(end[0]);
    TRY(fcntl(end[0], F_GETOWN));
    TRY(fcntl(end[0], F_GETSIG));
    CHECK(fcntl(end[0], F_SETFL, O_ASYNC) == 0 && write(end[1], "x", 1) == 1);
    told("nobody's");
    TRY(fcntl(end[0], F_SETOWN, getpid()));
    CHECK(fcntl(end[0], F_GETOWN) == getpid());
    owner(end[0]);
    CHECK(write(end[1], "x", 1) == 1);
    told("written");
    TRY(fcntl(end[0], F_SETSIG, SIGRTMIN + 3));
    CHECK(fcntl(end[0], F_GETSIG) == SIGRTMIN + 3 && write(end[1], "x", 1) == 1);
    told("with a number of its own");
    CHECK(reap(CHILD(CHECK(write(end[1], "x", 1) == 1))) == 0);
    told("by another process");
    CHECK(read(end[0], buffer, 1) == 1);
    told("read");
    CHECK(fcntl(end[0], F_SETFL, O_NONBLOCK) == 0 && write(end[1], "x", 1) == 1);
    told("switched off");
    TRY(ioctl(end[0], FIOASYNC, &(int){1}));
    say("flags %d\n", fcntl(end[0], F_GETFL) & (O_ASYNC | O_NONBLOCK));
    CHECK(fcntl(end[0], F_SETOWN, -getpgrp()) == 0 && fcntl(end[0], F_SETSIG, 0) == 0);
    owner(end[0]);
    CHECK(write(end[1], "x", 1) == 1);
    told("process group");
    struct f_owner_ex thread = {F_OWNER_TID, getpid()};
    TRY(fcntl(end[0], F_SETOWN_EX, &thread));
    owner(end[0]);
    CHECK(write(end[1], "x", 1) == 1);
    told("thread");
    thread.type = 3;
    TRY(fcntl(end[0], F_SETOWN_EX, &thread));
    TRY(fcntl(end[0], F_SETOWN_EX, BAD));
    TRY(fcntl(end[0], F_SETOWN, 999999999));
    TRY(fcntl(end[0], F_SETSIG, 65));
    TRY(fcntl(end[0], F_SETOWN, 0));
    owner(end[0]);
    CHECK(fcntl(end[0], F_SETFL, O_NONBLOCK) == 0);
    while (read(end[0], buffer, sizeof buffer) > 0)
        ;

    CHECK(fcntl(end[1], F_SETOWN, getpid()) == 0 && fcntl(end[1], F_SETSIG, SIGRTMIN + 3) == 0);
    CHECK(fcntl(end[1], F_SETFL, O_ASYNC | O_NONBLOCK) == 0);
    count = 0;
    while (write(end[1], buffer, sizeof buffer) > 0)
        ;
    told("filled");
    for (int i = 0; i < 100; i++)
        CHECK(read(end[0], buffer, sizeof buffer) == sizeof buffer);
    count = count > 0; /* once, or with each read */
    told("room");

    CHECK(fcntl(pair[0], F_SETOWN, getpid()) == 0 && fcntl(pair[0], F_SETFL, O_ASYNC) == 0);
    CHECK(write(pair[1], "x", 1) == 1);
    told("a socket");
    int file = open("/proc/self/exe", O_RDONLY);
    TRY(fcntl(file, F_SETOWN, getpid()));
    TRY(ioctl(file, FIOASYNC, &(int){1}));
    TRY(ioctl(file, FIOASYNC, &(int){0}));
    close(pair[0]), close(pair[1]), close(end[0]);
    return done();
}
