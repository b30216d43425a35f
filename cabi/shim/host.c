/* Files of the host below a directory descriptor: look, open, read, write, change. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "attributes.h"
#include "path.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

static int64_t
answer(long result)
{
    return result < 0 ? -errno : result;
}

int32_t
pysc_statx(int32_t dirfd, const char *path, uint64_t length, struct pysc_attributes *out)
{
    struct place place;
    int error = pysc_enter(&place, dirfd, path, length);
    if (error)
        return error;
    error = pysc_attributes_of(place.dirfd, place.rest, out);
    pysc_leave(&place);
    return error;
}

int32_t
pysc_identity(int32_t fd, uint64_t out[3])
{
    struct statx stx;
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO | STATX_TYPE, &stx) < 0)
        return -errno;
    out[0] = makedev(stx.stx_dev_major, stx.stx_dev_minor);
    out[1] = stx.stx_ino;
    out[2] = stx.stx_mode & S_IFMT;
    return 0;
}

/* The walk's one step: `path` up to `end` is looked at, NUL put there for the time being. */
static int
look(struct place *place, char *end, struct pysc_attributes *out)
{
    char saved = *end;
    *end = 0;
    int error = pysc_attributes_of(place->dirfd, place->rest, out);
    *end = saved;
    return error;
}

int32_t
pysc_walk(int32_t dirfd, const char *path, uint64_t length, uint64_t skip, struct pysc_attributes *out, uint32_t max,
          int32_t *error)
{
    struct place place;
    int failed = skip < length ? pysc_enter(&place, dirfd, path, length) : -EINVAL;
    *error = -failed;
    if (failed)
        return 0;
    uint64_t descended = length - strlen(place.buffer);
    if (skip < descended) { /* some of what is asked for was only passed through: ask in two */
        pysc_leave(&place);
        *error = ENAMETOOLONG;
        return 0;
    }
    uint32_t count = 0;
    char *name = place.buffer + (skip - descended);
    while (count < max) {
        char *end = strchrnul(name, '/');
        *error = -look(&place, end, &out[count]);
        if (*error)
            break;
        count++;
        if (!*end)
            break;
        if (!S_ISDIR(out[count - 1].mode)) {
            *error = S_ISLNK(out[count - 1].mode) ? 0 : ENOTDIR;
            break;
        }
        name = end + 1;
    }
    pysc_leave(&place);
    return (int32_t)count;
}

int32_t
pysc_open_read(int32_t dirfd, const char *path, uint64_t length, uint32_t flags)
{
    if ((flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY))))
        return -EINVAL;
    struct place place;
    int error = pysc_enter(&place, dirfd, path, length);
    if (error)
        return error;
    const char *rest = *place.rest ? place.rest : ".";
    int32_t fd = (int32_t)answer(openat(place.dirfd, rest, (int)(flags | O_NOFOLLOW | O_CLOEXEC)));
    pysc_leave(&place);
    return fd;
}

int32_t
pysc_open_beneath(int32_t dirfd, const char *path, uint64_t length, uint64_t flags, uint64_t mode)
{
    struct place place;
    int error = pysc_enter(&place, dirfd, path, length);
    if (error)
        return error;
    int32_t fd = pysc_beneath(place.dirfd, *place.rest ? place.rest : ".", flags, mode);
    pysc_leave(&place);
    return fd;
}

int64_t
pysc_readlink(int32_t dirfd, const char *path, uint64_t length, void *target, uint64_t size)
{
    struct place place;
    int error = pysc_enter(&place, dirfd, path, length);
    if (error)
        return error;
    int64_t got = answer(readlinkat(place.dirfd, place.rest, target, size));
    pysc_leave(&place);
    return got;
}

int64_t
pysc_pread(int32_t fd, void *buffer, uint64_t size, int64_t offset, int32_t flags)
{
    struct iovec iov = {.iov_base = buffer, .iov_len = size};
    return answer(preadv2(fd, &iov, 1, offset, flags));
}

int64_t
pysc_pwrite(int32_t fd, const void *buffer, uint64_t size, int64_t offset, int32_t flags)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)buffer, .iov_len = size};
    return answer(pwritev2(fd, &iov, 1, offset, flags));
}

int32_t
pysc_chown(int32_t dirfd, const char *name, uint32_t uid, uint32_t gid)
{
    return (int32_t)answer(fchownat(dirfd, name, uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
}

int32_t
pysc_chmod(int32_t fd, const char *name, uint32_t mode)
{
    return (int32_t)answer(syscall(SYS_fchmodat2, fd, name, mode, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
}

static struct timespec
timespec_of(int64_t ns, int32_t choice)
{
    if (choice != 1)
        return (struct timespec){.tv_nsec = choice == 2 ? UTIME_NOW : UTIME_OMIT};
    int64_t seconds = ns / 1000000000, rest = ns % 1000000000;
    return rest < 0 ? (struct timespec){seconds - 1, rest + 1000000000} : (struct timespec){seconds, rest};
}

int32_t
pysc_utimens(int32_t dirfd, const char *name, int64_t atime, int32_t atime_choice, int64_t mtime, int32_t mtime_choice)
{
    struct timespec times[2] = {timespec_of(atime, atime_choice), timespec_of(mtime, mtime_choice)};
    return (int32_t)answer(syscall(SYS_utimensat, dirfd, name, times, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
}

int32_t
pysc_rename(int32_t old_dirfd, const char *old_name, int32_t new_dirfd, const char *new_name, uint32_t flags)
{
    return (int32_t)answer(syscall(SYS_renameat2, old_dirfd, old_name, new_dirfd, new_name, flags));
}

int32_t
pysc_allocate(int32_t fd, int32_t mode, int64_t offset, int64_t length)
{
    return (int32_t)answer(fallocate(fd, mode, offset, length));
}

int32_t
pysc_statfs(int32_t fd, uint64_t out[10])
{
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0)
        return -errno;
    uint64_t values[10] = {
        (uint64_t)fs.f_type, (uint64_t)fs.f_bsize, fs.f_blocks, fs.f_bfree, fs.f_bavail,
        fs.f_files, fs.f_ffree, (uint64_t)fs.f_namelen, (uint64_t)fs.f_frsize, (uint64_t)fs.f_flags,
    };
    memcpy(out, values, sizeof values);
    return 0;
}
