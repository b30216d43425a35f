/* Relative paths of any length, below a directory descriptor. */

#ifndef PYSC_PATH_H
#define PYSC_PATH_H

#include <limits.h>
#include <stdint.h>

/* A directory and what is left of a path below it, short enough for the kernel. */
struct place {
    int dirfd;
    int opened; /* dirfd is ours to close */
    const char *rest;
    char buffer[PATH_MAX];
};

/* openat2(2) with RESOLVE_BENEATH|NO_SYMLINKS|NO_MAGICLINKS, O_NOFOLLOW and O_CLOEXEC; the descriptor or -errno.  Without
 * `..` a path leaves its directory only if others move what it has led to: then it is looked up again, at last -ESTALE. */
int pysc_beneath(int dirfd, const char *path, uint64_t flags, uint64_t mode);

/* 0, or -EINVAL for what is no list of names, or -ENAMETOOLONG. */
int pysc_check_path(const char *path, uint64_t length);

/* Descend until the rest fits a system call.  0 or -errno; pysc_leave() after 0. */
int pysc_enter(struct place *place, int dirfd, const char *path, uint64_t length);
void pysc_leave(struct place *place);

#endif
