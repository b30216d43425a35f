/* Relative paths of any length, below a directory descriptor. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "path.h"

#define LONGEST 32768
#define MOVED_TRIES 64

static int
check_name(const char *name, size_t length)
{
    if (length == 0 || (name[0] == '.' && (length == 1 || (length == 2 && name[1] == '.'))))
        return -EINVAL;
    return length > NAME_MAX ? -ENAMETOOLONG : 0;
}

int
pysc_check_path(const char *path, uint64_t length)
{
    if (length == 0)
        return 0;
    if (length > LONGEST)
        return -ENAMETOOLONG;
    if (memchr(path, 0, length))
        return -EINVAL;
    const char *end = path + length;
    for (;;) {
        const char *slash = memchr(path, '/', (size_t)(end - path));
        int error = check_name(path, (size_t)((slash ? slash : end) - path));
        if (error || !slash)
            return error;
        path = slash + 1;
    }
}

int
pysc_beneath(int dirfd, const char *path, uint64_t flags, uint64_t mode)
{
    struct open_how how = {
        .flags = flags | O_NOFOLLOW | O_CLOEXEC,
        .mode = mode,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    for (int tries = MOVED_TRIES; tries; tries--) {
        int fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof how);
        if (fd >= 0)
            return fd;
        if (errno != EXDEV)
            return -errno;
    }
    return -ESTALE;
}

static int
descend(struct place *place, const char *path, size_t length)
{
    memcpy(place->buffer, path, length);
    place->buffer[length] = 0;
    int fd = pysc_beneath(place->dirfd, place->buffer, O_PATH | O_DIRECTORY, 0);
    if (fd == -ENOSYS || fd == -EACCES || fd == -EPERM) { /* the sentry's filter; its trees follow no link */
        fd = openat(place->dirfd, place->buffer, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            return -errno;
    }
    if (fd < 0)
        return fd;
    pysc_leave(place);
    place->dirfd = fd;
    place->opened = 1;
    return 0;
}

int
pysc_enter(struct place *place, int dirfd, const char *path, uint64_t length)
{
    place->dirfd = dirfd;
    place->opened = 0;
    if (dirfd < 0)
        return -EBADF;
    int error = pysc_check_path(path, length);
    while (!error && length >= PATH_MAX) {
        const char *slash = memrchr(path, '/', PATH_MAX - 1); /* names are short: there is one */
        error = descend(place, path, (size_t)(slash - path));
        length -= (uint64_t)(slash + 1 - path);
        path = slash + 1;
    }
    if (error) {
        pysc_leave(place);
        return error;
    }
    memcpy(place->buffer, path, length);
    place->buffer[length] = 0;
    place->rest = place->buffer;
    return 0;
}

void
pysc_leave(struct place *place)
{
    if (place->opened)
        close(place->dirfd);
    place->opened = 0;
}
