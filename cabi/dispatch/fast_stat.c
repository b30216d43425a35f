/* Fast paths that ask about a path: stat(2), statx(2), access(2), readlink(2). */

#define _GNU_SOURCE
#include "fast.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#define AT_SYMLINK_NOFOLLOW_ 0x100U
#define AT_NO_AUTOMOUNT_ 0x800U
#define AT_EMPTY_PATH_ 0x1000U
#define AT_EACCESS_ 0x200U
#define AT_STATX_SYNC_TYPE_ 0x6000U

static uint32_t
links(const struct pysc_dcache *cache, const struct pysc_attributes *a)
{
    return cache->overlaid && S_ISDIR(a->mode) ? 1 : a->nlink;
}

/* The attributes, if they are not Python's. */
static const struct pysc_attributes *
attributes_of(const struct call *call, uint32_t index)
{
    const struct pysc_dentry *dentry = &call->objects->dentries[index];

    return pysc_is_in_tree(call->objects, dentry) && !dentry->merged ? &dentry->attributes : NULL;
}

/* Of a regular file that Python has shown, and keeps what stat(2) said of it. */
static int
stat_shown(struct call *call, const struct pysc_dentry *dentry, uint64_t address)
{
    const struct pysc_inode *inode = pysc_dentry_inode(call->objects, dentry);

    return inode && inode->data ? stat_regular(call, inode->data - 1, inode->data_generation, address) : HAND_OVER;
}

int
stat_dentry(struct call *call, uint32_t index, uint64_t address)
{
    const struct pysc_dcache *cache = &call->objects->dcaches[call->objects->dentries[index].cache];
    const struct pysc_attributes *a = attributes_of(call, index);
    struct guest_stat shown;

    if (!a)
        return stat_shown(call, &call->objects->dentries[index], address);
    if (!address_ok(address, sizeof shown))
        return HAND_OVER;
    shown = (struct guest_stat){
        .dev = cache->device, .ino = a->ino, .nlink = links(cache, a), .mode = a->mode, .uid = a->uid, .gid = a->gid,
        .rdev = a->rdev, .size = (int64_t)a->size, .blksize = a->blksize, .blocks = (int64_t)a->blocks,
        .times = {seconds(a->atime), rest(a->atime), seconds(a->mtime), rest(a->mtime), seconds(a->ctime), rest(a->ctime)},
    };
    return answer_with(call, address, &shown, sizeof shown, 0);
}

static struct statx_timestamp
timestamp(int64_t ns)
{
    return (struct statx_timestamp){.tv_sec = seconds(ns), .tv_nsec = (uint32_t)rest(ns)};
}

static int
statx_dentry(struct call *call, struct found found, uint64_t address)
{
    uint32_t index = (uint32_t)found.dentry;
    const struct pysc_dcache *cache = &call->objects->dcaches[call->objects->dentries[index].cache];
    const struct pysc_attributes *a = attributes_of(call, index);
    struct statx shown;

    if (!a || cache->top == index || !address_ok(address, sizeof shown))
        return HAND_OVER;
    shown = (struct statx){
        .stx_mask = STATX_BASIC_STATS | 0x1000U /* MNT_ID */ | (a->btime ? STATX_BTIME : 0), .stx_blksize = a->blksize,
        .stx_nlink = links(cache, a), .stx_uid = a->uid, .stx_gid = a->gid, .stx_mode = (uint16_t)a->mode,
        .stx_ino = a->ino, .stx_size = a->size, .stx_blocks = a->blocks,
        .stx_attributes_mask = STATX_ATTR_MOUNT_ROOT,
        .stx_atime = timestamp(a->atime), .stx_btime = timestamp(a->btime), .stx_ctime = timestamp(a->ctime),
        .stx_mtime = timestamp(a->mtime),
        .stx_rdev_major = major(a->rdev), .stx_rdev_minor = minor(a->rdev),
        .stx_dev_major = major(cache->device), .stx_dev_minor = minor(cache->device),
        .stx_mnt_id = found.mount,
    };
    return answer_with(call, address, &shown, sizeof shown, 0);
}

/* find_path() by the thread's own rights. */
static int
find(struct call *call, uint64_t dirfd, uint64_t address, uint32_t flags, struct found *found, int *said)
{
    return find_path(call, dirfd, address, flags, &call->thread->access, found, said);
}

static int
stat_path(struct call *call, uint64_t dirfd, uint64_t path, uint64_t address, uint32_t follow)
{
    struct found found;
    int said;

    if (!find(call, dirfd, path, follow, &found, &said))
        return said;
    return stat_dentry(call, (uint32_t)found.dentry, address);
}

static int
fast_stat(struct call *call)
{
    const uint64_t *a = call->event->args;

    return stat_path(call, AT_FDCWD_, a[0], a[1], WALK_FOLLOW);
}

static int
fast_lstat(struct call *call)
{
    const uint64_t *a = call->event->args;

    return stat_path(call, AT_FDCWD_, a[0], a[1], 0);
}

/* An empty path is the descriptor's: the C library's fstat. */
static int
stat_empty(struct call *call, uint64_t fd, uint64_t address)
{
    struct pysc_file *file = file_at_fd(call, fd);

    if (!file)
        return (uint32_t)fd == AT_FDCWD_ ? HAND_OVER : answer(call, -EBADF);
    return stat_file(call, file, address);
}

static int
fast_newfstatat(struct call *call)
{
    const uint64_t *a = call->event->args;
    uint32_t flags = (uint32_t)a[3];
    const uint8_t *path;

    if (flags & ~(AT_SYMLINK_NOFOLLOW_ | AT_EMPTY_PATH_ | AT_NO_AUTOMOUNT_))
        return HAND_OVER;
    path = hint_at(call, a[1], 1);
    if (path && *path == 0)
        return flags & AT_EMPTY_PATH_ ? stat_empty(call, a[0], a[2]) : HAND_OVER;
    return stat_path(call, a[0], a[1], a[2], flags & AT_SYMLINK_NOFOLLOW_ ? 0 : WALK_FOLLOW);
}

static int
fast_statx(struct call *call)
{
    const uint64_t *a = call->event->args;
    uint32_t flags = (uint32_t)a[2], mask = (uint32_t)a[3];
    struct found found;
    int said;

    if (flags & ~(AT_SYMLINK_NOFOLLOW_ | AT_NO_AUTOMOUNT_ | AT_STATX_SYNC_TYPE_) || mask & 0x80000000U ||
        (flags & AT_STATX_SYNC_TYPE_) == AT_STATX_SYNC_TYPE_)
        return HAND_OVER;
    if (!find(call, a[0], a[1], flags & AT_SYMLINK_NOFOLLOW_ ? 0 : WALK_FOLLOW, &found, &said))
        return said;
    return statx_dentry(call, found, a[4]);
}

/* The rights that access(2) asks for, or none if those are Python's to find out. */
static int
real_rights(const struct call *call, uint32_t flags, struct pysc_access *access)
{
    *access = call->thread->access;
    if (flags & AT_EACCESS_)
        return 1;
    if (!access->real)
        return 0;
    if (!access->privileged)
        access->override = access->read_search = 0;
    return 1;
}

static int
access_path(struct call *call, uint64_t dirfd, uint64_t path, uint32_t mode, uint32_t flags)
{
    struct pysc_access access;
    struct found found;
    int may, said;

    /* Mounts may be read-only, which Python knows. */
    if (mode & ~(MAY_READ | MAY_EXEC) || !real_rights(call, flags, &access))
        return HAND_OVER;
    if (!find_path(call, dirfd, path, flags & AT_SYMLINK_NOFOLLOW_ ? 0 : WALK_FOLLOW, &access, &found, &said))
        return said;
    if (mode & MAY_EXEC && S_ISREG(found.view.mode) && !pysc_mount_executes(call->objects, found.mount))
        return HAND_OVER;
    may = is_permitted(&access, &found.view, mode);
    return may < 0 ? HAND_OVER : answer(call, may ? 0 : -EACCES);
}

static int
fast_access(struct call *call)
{
    const uint64_t *a = call->event->args;

    return access_path(call, AT_FDCWD_, a[0], (uint32_t)a[1], 0);
}

static int
fast_faccessat(struct call *call)
{
    const uint64_t *a = call->event->args;

    return access_path(call, a[0], a[1], (uint32_t)a[2], 0);
}

static int
fast_faccessat2(struct call *call)
{
    const uint64_t *a = call->event->args;
    uint32_t flags = (uint32_t)a[3];

    if (flags & ~(AT_EACCESS_ | AT_SYMLINK_NOFOLLOW_))
        return HAND_OVER;
    return access_path(call, a[0], a[1], (uint32_t)a[2], flags);
}

static int
read_link(struct call *call, uint64_t dirfd, uint64_t path, uint64_t address, int32_t size)
{
    struct pysc_dentry *dentry;
    struct found found;
    const char *target;
    size_t length;
    int said;

    if (size <= 0)
        return HAND_OVER;
    if (!find(call, dirfd, path, 0, &found, &said))
        return said;
    dentry = &call->objects->dentries[found.dentry];
    if (!S_ISLNK(found.view.mode))
        return answer(call, -EINVAL);
    target = pysc_is_in_tree(call->objects, dentry) ? pysc_dentry_target(call->objects, dentry) : NULL;
    if (!target)
        return HAND_OVER;
    length = strlen(target);
    if (length > (size_t)size)
        length = (size_t)size;
    return address_ok(address, length) ? answer_with(call, address, target, length, (int64_t)length) : HAND_OVER;
}

static int
fast_readlink(struct call *call)
{
    const uint64_t *a = call->event->args;

    return read_link(call, AT_FDCWD_, a[0], a[1], (int32_t)a[2]);
}

static int
fast_readlinkat(struct call *call)
{
    const uint64_t *a = call->event->args;

    return read_link(call, a[0], a[1], a[2], (int32_t)a[3]);
}

void
serve_stat(void)
{
    pysc_fast_paths[SYS_stat] = fast_stat;
    pysc_fast_paths[SYS_lstat] = fast_lstat;
    pysc_fast_paths[SYS_newfstatat] = fast_newfstatat;
    pysc_fast_paths[SYS_statx] = fast_statx;
    pysc_fast_paths[SYS_access] = fast_access;
    pysc_fast_paths[SYS_faccessat] = fast_faccessat;
    pysc_fast_paths[SYS_faccessat2] = fast_faccessat2;
    pysc_fast_paths[SYS_readlink] = fast_readlink;
    pysc_fast_paths[SYS_readlinkat] = fast_readlinkat;
}
