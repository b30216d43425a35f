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

/* 0, or -EINVAL for what is no list of names, or -ENAMETOOLONG. */
int pysc_check_path(const char *path, uint64_t length);

/* Descend until the rest fits a system call.  0 or -errno; pysc_leave() after 0. */
int pysc_enter(struct place *place, int dirfd, const char *path, uint64_t length);
void pysc_leave(struct place *place);

#endif
