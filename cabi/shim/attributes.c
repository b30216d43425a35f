/* statx(2), packed. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "attributes.h"

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000
#endif

static int64_t
nanoseconds(const struct statx_timestamp *time)
{
    int64_t whole;
    if (__builtin_mul_overflow(time->tv_sec, (int64_t)1000000000, &whole) ||
        __builtin_add_overflow(whole, (int64_t)time->tv_nsec, &whole))
        return time->tv_sec < 0 ? INT64_MIN : INT64_MAX;
    return whole;
}

int
pysc_attributes_of(int dirfd, const char *name, struct pysc_attributes *out)
{
    struct statx stx;
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH;
    if (statx(dirfd, name, flags, STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID, &stx) < 0)
        return -errno;
    *out = (struct pysc_attributes){
        .dev = makedev(stx.stx_dev_major, stx.stx_dev_minor),
        .ino = stx.stx_ino,
        .rdev = makedev(stx.stx_rdev_major, stx.stx_rdev_minor),
        .size = stx.stx_size,
        .blocks = stx.stx_blocks,
        .atime = nanoseconds(&stx.stx_atime),
        .mtime = nanoseconds(&stx.stx_mtime),
        .ctime = nanoseconds(&stx.stx_ctime),
        .btime = stx.stx_mask & STATX_BTIME ? nanoseconds(&stx.stx_btime) : 0,
        .mode = stx.stx_mode,
        .nlink = stx.stx_nlink,
        .uid = stx.stx_uid,
        .gid = stx.stx_gid,
        .blksize = stx.stx_blksize,
        .flags = (uint32_t)stx.stx_attributes,
        .mnt_id = stx.stx_mask & STATX_MNT_ID ? stx.stx_mnt_id : 0,
    };
    return 0;
}
