/* stat and its family, times, modes, statx, statfs, access. */
#include "guest.h"
#include <sys/utsname.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <utime.h>

int main(void)
{
    struct stat st, other;
    scratch();
    int fd = open("f", O_RDWR | O_CREAT, 0640);
    CHECK(write(fd, "12345", 5) == 5 && symlink("f", "l") == 0 && mkdir("d", 0711) == 0);
    CHECK(stat("f", &st) == 0 && fstat(fd, &other) == 0 && st.st_ino == other.st_ino && st.st_dev == other.st_dev);
    say("mode %o links %ld size %ld, mine %d\n", st.st_mode, (long)st.st_nlink, (long)st.st_size,
        st.st_uid == geteuid() && st.st_gid == getegid());
    CHECK(lstat("l", &st) == 0);
    say("link: mode %o size %ld\n", st.st_mode, (long)st.st_size);
    CHECK(stat("d", &st) == 0);
    say("directory: mode %o\n", st.st_mode);
    CHECK(fstatat(fd, "", &st, AT_EMPTY_PATH) == 0 && st.st_size == 5);
    TRY(fstatat(AT_FDCWD, "", &st, 0));
    TRY(fstatat(AT_FDCWD, "f", &st, 0x1000000));
    TRY(fstatat(fd, "x", &st, 0));
    TRY(stat("f/x", &st));
    TRY(stat("nothing", &st));
    TRY(syscall(SYS_stat, "f", BAD));
    TRY(syscall(SYS_stat, BAD, &st));
    struct timespec times[2] = {{1000000001, 123456789}, {1500000000, 987654321}};
    TRY(utimensat(AT_FDCWD, "f", times, 0));
    fstat(fd, &st);
    say("atime %ld.%09ld mtime %ld.%09ld\n", st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    times[0].tv_nsec = UTIME_OMIT, times[1].tv_nsec = UTIME_NOW;
    TRY(futimens(fd, times));
    fstat(fd, &st);
    CHECK(labs(st.st_mtim.tv_sec - time(NULL)) <= 2);
    say("atime kept %ld\n", st.st_atim.tv_sec);
    times[1].tv_nsec = 1000000000;
    TRY(futimens(fd, times));
    TRY(syscall(SYS_utimensat, 99, NULL, NULL, AT_SYMLINK_NOFOLLOW));
    times[0].tv_nsec = times[1].tv_nsec = UTIME_OMIT;
    TRY(utimensat(AT_FDCWD, "nothing", times, 99));
    times[1].tv_nsec = 1000000000;
    TRY(utime("nothing", NULL));
    TRY(syscall(SYS_utimensat, AT_FDCWD, NULL, times, 0));
    TRY(syscall(SYS_futimesat, AT_FDCWD, NULL, NULL));
    fstat(fd, &st);
    nap(20);
    CHECK(write(fd, "6", 1) == 1 && fstat(fd, &other) == 0);
    CHECK(other.st_mtim.tv_sec * 1000000000 + other.st_mtim.tv_nsec > st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
    TRY(chmod("f", 04751));
    stat("f", &st);
    say("mode %o\n", st.st_mode);
    TRY(fchmodat(AT_FDCWD, "nothing", 0600, 0));
    struct statx x;
    TRY(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS | STATX_BTIME, &x));
    CHECK((x.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS && x.stx_size == 6 && x.stx_ino == st.st_ino);
    CHECK(makedev(x.stx_dev_major, x.stx_dev_minor) == st.st_dev);
    TRY(statx(AT_FDCWD, "f", 0x1000000, 0, &x));
    int major, minor;
    struct utsname kernel;
    CHECK(uname(&kernel) == 0 && sscanf(kernel.release, "%d.%d", &major, &minor) == 2);
    if (major > 6 || (major == 6 && minor >= 11)) { /* no path at all */
        CHECK(syscall(SYS_statx, fd, NULL, AT_EMPTY_PATH, STATX_ALL, &x) == 0 && x.stx_size == 6);
        CHECK(syscall(SYS_newfstatat, fd, NULL, &other, AT_EMPTY_PATH) == 0 && other.st_size == 6);
    }
    TRY(syscall(SYS_statx, fd, NULL, 0, STATX_ALL, &x));
    TRY(syscall(SYS_newfstatat, fd, NULL, &other, AT_SYMLINK_NOFOLLOW));
    TRY(access("f", R_OK | W_OK));
    TRY(access("nothing", F_OK));
    TRY(access("f", 99));
    TRY(faccessat(AT_FDCWD, "l", F_OK, AT_SYMLINK_NOFOLLOW));
    struct statfs fs;
    CHECK(statfs(".", &fs) == 0 && fs.f_bsize > 0 && fs.f_namelen == 255 && fs.f_blocks >= fs.f_bavail);
    TRY(statfs("nothing", &fs));
    TRY(fstatfs(99, &fs));
    int ends[2], sockets[2];
    CHECK(pipe(ends) == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets) == 0);
    TRY(fstatfs(ends[0], &fs));
    say("pipe %lx\n", (long)fs.f_type);
    TRY(fstatfs(sockets[0], &fs));
    say("socket %lx\n", (long)fs.f_type);
    TRY(fstatfs(eventfd(0, 0), &fs));
    say("others %lx\n", (long)fs.f_type);
    CHECK(stat("/dev/null", &st) == 0 && S_ISCHR(st.st_mode) && major(st.st_rdev) == 1 && minor(st.st_rdev) == 3);
    CHECK(stat("/proc/self/stat", &st) == 0 && S_ISREG(st.st_mode) && stat("/proc", &st) == 0 && S_ISDIR(st.st_mode));
    return done();
}
