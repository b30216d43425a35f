/* The descriptor table: lowest free number, dup and its kin, close-on-exec, limits, close_range. */
#include "guest.h"
#include <sys/resource.h>

int main(void)
{
    int fd = TRY(open("/dev/null", O_RDWR));
    TRY(dup(fd));
    TRY(dup2(fd, 10));
    TRY(dup2(fd, fd));
    TRY(dup(fd));
    TRY(close(4));
    TRY(dup(fd));
    TRY(dup3(fd, 11, O_CLOEXEC));
    TRY(fcntl(11, F_GETFD));
    TRY(fcntl(10, F_GETFD));
    TRY(fcntl(10, F_SETFD, FD_CLOEXEC));
    TRY(fcntl(10, F_GETFD));
    TRY(fcntl(fd, F_DUPFD, 100));
    TRY(fcntl(fd, F_DUPFD_CLOEXEC, 100));
    TRY(fcntl(101, F_GETFD));
    TRY(dup2(100, 10));
    TRY(fcntl(10, F_GETFD));
    TRY(syscall(SYS_close_range, 4, 50, 0));
    TRY(fcntl(10, F_GETFD));
    TRY(syscall(SYS_close_range, 100, ~0u, CLOSE_RANGE_CLOEXEC));
    TRY(fcntl(100, F_GETFD));
    TRY(syscall(SYS_close_range, 50, 4, 0));
    TRY(syscall(SYS_close_range, 3, 4, 99));
    TRY(dup(fd));
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){8, 8});
    TRY(dup(fd));
    TRY(dup(fd));
    TRY(dup(fd));
    TRY(dup(fd));
    TRY(open("/dev/null", O_RDONLY));
    TRY(pipe((int[2]){0}));
    TRY(dup2(fd, 8));
    TRY(dup2(fd, 7));
    TRY(fcntl(fd, F_DUPFD, 8));
    TRY(fcntl(100, F_GETFD));
    TRY(fcntl(fd, F_GETFL) & O_ACCMODE);
    TRY(setrlimit(RLIMIT_NOFILE, &(struct rlimit){9, 8}));
    return done();
}
