/* What a descriptor that is only a place (O_PATH) can be used for, and what treats it as no descriptor at all. */
#include "guest.h"
#include <dirent.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

int main(void)
{
    char buffer[64];
    struct epoll_event event = {.events = EPOLLIN};
    struct itimerspec never = {0};
    struct stat st;
    struct statx stx;
    struct statfs fs;
    sigset_t signals;

    scratch();
    sigemptyset(&signals);
    int file = open("a", O_RDWR | O_CREAT, 0644);
    int a = open("a", O_PATH), directory = open(".", O_PATH | O_DIRECTORY), epoll = epoll_create1(0);
    CHECK(file >= 0 && a >= 0 && directory >= 0 && epoll >= 0 && symlink("a", "link") == 0);

    /* names it */
    TRY(fstat(a, &st));
    TRY(fstatat(a, "", &st, AT_EMPTY_PATH));
    TRY(statx(a, "", AT_EMPTY_PATH, STATX_ALL, &stx));
    TRY(fstatfs(a, &fs));
    TRY(fchdir(a));
    TRY(fchdir(directory));
    TRY(faccessat(directory, "a", R_OK, 0));
    TRY(close(openat(directory, "a", O_RDONLY)));
    TRY(readlinkat(open("link", O_PATH | O_NOFOLLOW), "", buffer, sizeof buffer));
    TRY(close(dup(a)));
    TRY(dup2(a, a) == a);
    TRY(dup3(a, 90, 0));
    TRY(fcntl(90, F_GETFD));
    TRY(fcntl(90, F_SETFD, FD_CLOEXEC));
    TRY(fcntl(90, F_GETFL) == O_PATH);
    TRY(close(fcntl(a, F_DUPFD, 80)));
    TRY(fchownat(a, "", -1, -1, AT_EMPTY_PATH));

    /* is none */
    TRY(fcntl(a, F_SETFL, O_APPEND));
    TRY(fcntl(a, F_GETPIPE_SZ));
    TRY(fcntl(a, F_GETLK, &(struct flock){.l_type = F_RDLCK}));
    TRY(read(a, buffer, 1));
    TRY(write(a, buffer, 1));
    TRY(pread(a, buffer, 1, 0));
    TRY(lseek(a, 0, SEEK_SET));
    TRY(lseek(a, 0, 77));
    TRY(getdents64(directory, buffer, sizeof buffer));
    TRY(fsync(a));
    TRY(fdatasync(a));
    TRY(sync_file_range(a, 0, 1, 0));
    TRY(syncfs(a));
    TRY(readahead(a, 0, 1));
    TRY(posix_fadvise(a, 0, 1, 0) == EBADF);
    TRY(ftruncate(a, 0));
    TRY(fallocate(a, 0, 0, 1));
    TRY(fallocate(a, 0, 0, 0));
    TRY(fchmod(a, 0600));
    TRY(fchown(a, -1, -1));
    TRY(futimens(a, NULL));
    TRY(flock(a, LOCK_SH));
    TRY(flock(a, 77));
    TRY(flock(99, 77));
    TRY(fgetxattr(a, "user.x", buffer, 1));
    TRY(fsetxattr(a, "user.x", buffer, 1, 0));
    TRY(flistxattr(a, buffer, 1));
    TRY(ioctl(a, FIONBIO, &(int){1}));
    TRY(ioctl(a, FIOCLEX));
    TRY((long)mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, a, 0));
    TRY((long)mmap(NULL, 0, PROT_READ, MAP_PRIVATE, a, 0));
    TRY(sendfile(1, a, NULL, 0));
    TRY(copy_file_range(a, NULL, file, NULL, 1, 0));
    TRY(splice(a, NULL, file, NULL, 1, 0));
    TRY(listen(a, 1));
    TRY(send(a, "x", 1, 0));
    struct pollfd watched = {.fd = a, .events = POLLIN};
    TRY(poll(&watched, 1, 0));
    say("reported %d\n", watched.revents == POLLNVAL);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(a, &set);
    TRY(select(a + 1, &set, NULL, NULL, &(struct timeval){0}));
    TRY(epoll_ctl(epoll, EPOLL_CTL_ADD, a, &event));
    TRY(epoll_ctl(a, EPOLL_CTL_ADD, epoll, &event));
    TRY(epoll_wait(a, &event, 1, 0));
    TRY(signalfd(a, &signals, 0));
    TRY(timerfd_settime(a, 0, &never, NULL));
    TRY(timerfd_gettime(a, &never));
    TRY(inotify_add_watch(a, ".", IN_CREATE));
    TRY(inotify_rm_watch(a, 1));
    TRY(syscall(SYS_pidfd_send_signal, open("/proc/self", O_PATH), 0, NULL, 0));
    TRY(waitid(P_PIDFD, a, NULL, WEXITED));
    return done();
}
