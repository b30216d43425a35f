/* The order of errors: which of several bad arguments is reported. */
#include "guest.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

int main(void)
{
    char ok[64];
    scratch();
    int fd = open("f", O_RDWR | O_CREAT, 0600), ro = open("f", O_RDONLY), dir = open(".", O_RDONLY);
    TRY(write(99, BAD, 5));
    TRY(read(99, BAD, 5));
    TRY(read(ro, BAD, 0));
    TRY(write(fd, BAD, 0));
    TRY(write(ro, BAD, 5));
    TRY(write(fd, BAD, 5));
    TRY(syscall(SYS_read, fd, BAD, -1));
    TRY(pread(99, BAD, 5, -1));
    TRY(pread(fd, BAD, 5, -1));
    TRY(readv(99, BAD, 1));
    TRY(readv(fd, BAD, 1));
    TRY(readv(fd, BAD, 0));
    TRY(syscall(SYS_writev, fd, BAD, 5000));
    TRY(lseek(99, 0, 99));
    TRY(openat(99, "f", O_RDONLY));
    TRY(close(openat(99, "/dev/null", O_RDONLY)));
    TRY(openat(99, "", O_RDONLY));
    TRY(openat(99, BAD, O_RDONLY));
    TRY(mkdirat(99, "/proc/nothing/x", 0));
    TRY(fcntl(99, 9999, 0));
    TRY(fcntl(fd, 9999, 0));
    TRY(dup2(99, -1));
    TRY(dup2(fd, -1));
    TRY(dup2(fd, 1 << 30));
    TRY(dup3(fd, fd, 0));
    TRY(dup3(99, 99, 0x1));
    TRY(dup3(99, 5, 0x1));
    TRY(fcntl(fd, F_DUPFD, 1 << 30));
    TRY(close(-1));
    TRY(syscall(SYS_close, 1ul << 32 | 99));
    TRY(ioctl(99, 0x5401, BAD));
    TRY(ioctl(fd, 0x5401, BAD));
    TRY(ioctl(fd, 0x9999, BAD));
    TRY(fstat(99, BAD));
    TRY(syscall(SYS_fstat, fd, BAD));
    TRY(ftruncate(99, -1));
    TRY(ftruncate(dir, 5));
    TRY(fchdir(fd));
    TRY(fchdir(99));
    TRY(getcwd(ok, 1) ? 0 : -1);
    TRY(syscall(SYS_getcwd, BAD, 100));
    TRY(renameat(99, "x", AT_FDCWD, "y"));
    TRY(rename(BAD, "y"));
    TRY(symlink(BAD, "f"));
    TRY(symlink("x", "f"));
    TRY(syscall(SYS_readlink, "nothing", BAD, -1));
    TRY(syscall(SYS_readlink, "f", ok, -1));
    TRY(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 99, 0) == MAP_FAILED ? -1 : 0);
    TRY(mmap(NULL, 0, PROT_READ, MAP_PRIVATE, 99, 0) == MAP_FAILED ? -1 : 0);
    TRY(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ro, 0) == MAP_FAILED ? -1 : 0);
    TRY(mmap(NULL, 4096, PROT_READ, 0, fd, 0) == MAP_FAILED ? -1 : 0);
    TRY(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 5) == MAP_FAILED ? -1 : 0);
    TRY(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, dir, 0) == MAP_FAILED ? -1 : 0);
    TRY(syscall(SYS_poll, BAD, 1 << 30, 0));
    TRY(epoll_ctl(99, 99, 99, BAD));
    TRY(epoll_ctl(fd, EPOLL_CTL_ADD, dir, BAD));
    TRY(sendfile(99, 99, BAD, 5));
    TRY(sendfile(ro, fd, NULL, 5));
    TRY(syscall(SYS_copy_file_range, fd, NULL, fd, NULL, 5, 1));
    TRY(kill(0x7fffffff, 99));
    TRY(syscall(SYS_nanosleep, BAD, BAD));
    TRY(syscall(SYS_uname, BAD));
    TRY(syscall(SYS_pipe2, BAD, 1));
    TRY(syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, BAD));
    TRY(connect(99, BAD, 16));
    TRY(send(fd, BAD, 5, 0));
    TRY(syscall(SYS_getrandom, BAD, 5, 0));
    TRY(syscall(SYS_getrandom, ok, 5, 99));
    TRY(syscall(SYS_getrlimit, 99, BAD));
    TRY(syscall(SYS_getrlimit, 0, BAD));
    TRY(syscall(9999, 1, 2, 3));
    TRY(syscall(-1));
    return done();
}
