/* signalfd: blocked signals are read as records, and poll tells when. */
#include "guest.h"
#include <poll.h>
#include <sys/signalfd.h>

int main(void)
{
    sigset_t set = set_of(SIGUSR1);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    struct signalfd_siginfo info[4];
    struct pollfd polled = {fd, POLLIN, 0};
    TRY(read(fd, info, sizeof info));
    TRY(poll(&polled, 1, 0));
    raise(SIGUSR1);
    sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 5});
    sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 6});
    TRY(poll(&polled, 1, 0));
    TRY(read(fd, info, 10));
    TRY(read(fd, info, sizeof *info));
    say("signal %u code %d\n", info->ssi_signo, info->ssi_code);
    CHECK(info->ssi_pid == (unsigned)getpid());
    TRY(read(fd, info, sizeof info));
    say("values %d %d\n", info[0].ssi_int, info[1].ssi_int);
    set = set_of(SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    CHECK(signalfd(fd, &set, 0) == fd);
    pid_t parent = getpid(), child = CHILD(nap(30); kill(parent, SIGUSR2));
    TRY(poll(&polled, 1, 5000));
    TRY(read(fd, info, sizeof *info));
    say("signal %u\n", info->ssi_signo);
    CHECK(reap(child) == 0);
    TRY(signalfd(-1, &set, 1));
    TRY(signalfd(1, &set, 0));
    TRY(signalfd(99, &set, 0));
    return done();
}
