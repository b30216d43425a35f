/* Fast paths of opening, listing and closing what only has to be read.
 *
 * A description made here is all in C until Python asks for it (sentry/fs/dcache.py); most are closed before. */

#define _GNU_SOURCE
#include "fast.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define O_NOCTTY_ 0400U
#define O_LARGEFILE_ 0100000U
#define O_DIRECTORY_ 0200000U
#define O_NOFOLLOW_ 0400000U
#define LISTING_MAX 32768
#define HOST_FDS 2048 /* no more of the host's descriptors are spent here: Python has one for all that have a file open;
                       * nor more than a quarter of those that there are (hostfds.py) */
#define DOT_SIZE 24
#define DT_DIR_ 4

struct guest_dirent {
    uint64_t ino;
    int64_t off;
    uint16_t reclen;
    uint8_t type;
    char name[];
};

/* A description of nothing yet, with data of its own; NULL: one of the pools is empty. */
static struct pysc_file *
new_file(struct pysc_objects *objects)
{
    int64_t file = pysc_object_new(objects, PYSC_OBJECT_FILE), data;

    if (file < 0)
        return NULL;
    data = pysc_object_new(objects, PYSC_OBJECT_DATA);
    if (data < 0) {
        pysc_object_free(objects, PYSC_OBJECT_FILE, (uint32_t)file);
        return NULL;
    }
    objects->data[data].file = -1;
    objects->files[file].owns = 1;
    objects->files[file].object = (uint32_t)data;
    objects->files[file].generation = objects->data[data].header.generation;
    return &objects->files[file];
}

static void
release(struct pysc_objects *objects, struct pysc_file *file)
{
    if (file->owns && objects->data[file->object].file >= 0)
        close(objects->data[file->object].file);
    if (file->owns)
        pysc_object_free(objects, PYSC_OBJECT_DATA, file->object);
    pysc_object_free(objects, PYSC_OBJECT_FILE, file->header.index);
}

/* The first number that is not spent here. */
static int
most_files(const struct pysc_objects *objects)
{
    uint32_t share = pysc_descriptors(objects) / 4;

    return share < HOST_FDS ? (int)share : HOST_FDS;
}

/* Whether a descriptor is of what was looked at: something else may have taken the name since. */
static int
is_of(int fd, const struct pysc_attributes *a)
{
    struct statx stx;

    return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &stx) == 0 && stx.stx_ino == a->ino &&
           makedev(stx.stx_dev_major, stx.stx_dev_minor) == a->dev && ((stx.stx_mode ^ a->mode) & S_IFMT) == 0;
}

static int
open_host(struct pysc_objects *objects, const struct pysc_dentry *dentry, int flags)
{
    const struct pysc_dcache *cache = &objects->dcaches[dentry->cache];
    char path[PATH_MAX];
    int fd;

    if (pysc_super_is_slow(objects, cache->super, PYSC_SUPER_NAMES) || pysc_dentry_path(objects, dentry, path) < 0)
        return -1;
    enter_host(objects, cache->super, PYSC_SUPER_NAMES);
    fd = openat(cache->tree, *path ? path : ".", flags | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    leave_host(objects);
    if (fd < 0 || (fd < most_files(objects) && is_of(fd, &dentry->attributes)))
        return fd;
    close(fd);
    return -1;
}

/* A description of a directory of Python's: what it lists is asked of Python. */
static struct pysc_file *
new_directory(struct pysc_objects *objects)
{
    int64_t file = pysc_object_new(objects, PYSC_OBJECT_FILE);

    if (file < 0)
        return NULL;
    objects->files[file].type = PYSC_FILE_DIRECTORY;
    return &objects->files[file];
}

/* Of a file in memory, whose inode has the data, or of a directory of Python's; NULL if it is neither. */
static struct pysc_file *
new_shown(struct pysc_objects *objects, const struct pysc_dentry *dentry)
{
    const struct pysc_inode *inode = pysc_dentry_inode(objects, dentry);
    const struct pysc_data *data;
    int64_t file;

    if (!inode || inode->withdrawn)
        return NULL;
    if (S_ISDIR(inode->mode))
        return new_directory(objects);
    if (!inode->data)
        return NULL;
    data = pysc_data_end(objects, inode->data - 1, inode->data_generation);
    if (!data || data->where != PYSC_DATA_MEMORY)
        return NULL;
    file = pysc_object_new(objects, PYSC_OBJECT_FILE);
    if (file < 0)
        return NULL;
    objects->files[file].object = inode->data - 1;
    objects->files[file].generation = inode->data_generation;
    objects->files[file].type = PYSC_FILE_REGULAR;
    return &objects->files[file];
}

/* Of a file of the host's; NULL if it does not let us. */
static struct pysc_file *
new_plain(struct pysc_objects *objects, const struct pysc_dentry *dentry)
{
    int directory = S_ISDIR(dentry->attributes.mode);
    struct pysc_file *file = new_file(objects);
    struct pysc_data *data;

    if (!file)
        return NULL;
    data = &objects->data[file->object];
    file->type = directory ? PYSC_FILE_DIRECTORY : PYSC_FILE_REGULAR;
    if (directory)
        return file; /* opened when it is listed */
    data->file = data->donable = open_host(objects, dentry, O_RDONLY);
    data->where = PYSC_DATA_HOST;
    data->super = objects->dcaches[dentry->cache].super;
    if (data->file >= 0)
        return file;
    release(objects, file);
    return NULL;
}

static int
open_dentry(struct call *call, struct found found, uint32_t flags)
{
    const struct pysc_dentry *dentry = &call->objects->dentries[found.dentry];
    struct pysc_file *file =
        pysc_is_in_tree(call->objects, dentry) ? new_plain(call->objects, dentry) : new_shown(call->objects, dentry);
    int64_t fd;

    if (!file)
        return HAND_OVER;
    fd = pysc_table_install(call->table, file->header.index, 0, call->table->limit, (flags & O_CLOEXEC_) != 0);
    if (fd < 0) {
        release(call->objects, file);
        return HAND_OVER;
    }
    file->flags = (flags & (O_NONBLOCK_ | O_DIRECTORY_ | O_NOFOLLOW_)) | O_LARGEFILE_;
    file->references = 1;
    pysc_file_place(call->objects, file, (uint32_t)found.dentry, found.mount);
    return answer(call, fd);
}

static int
open_path(struct call *call, uint64_t dirfd, uint64_t path, uint32_t flags)
{
    const uint32_t known = O_CLOEXEC_ | O_NONBLOCK_ | O_DIRECTORY_ | O_NOFOLLOW_ | O_LARGEFILE_ | O_NOCTTY_;
    const struct pysc_dentry *dentry;
    struct found found;
    int may, said;

    if (flags & ~known || call->objects->watched)
        return HAND_OVER;
    if (!find_path(call, dirfd, path,
                   (flags & O_NOFOLLOW_ ? 0 : WALK_FOLLOW) | (flags & O_DIRECTORY_ ? WALK_DIRECTORY : 0),
                   &call->thread->access, &found, &said))
        return said;
    dentry = &call->objects->dentries[found.dentry];
    if (S_ISLNK(found.view.mode))
        return answer(call, -ELOOP);
    if (!S_ISREG(found.view.mode) && !S_ISDIR(found.view.mode))
        return HAND_OVER;
    may = is_permitted(&call->thread->access, &found.view, MAY_READ);
    if (may == 0)
        return answer(call, -EACCES);
    if (may < 0 || context_of(call->objects, call->thread)->root == dentry->header.index + 1)
        return HAND_OVER; /* what is above a root is Python's */
    return open_dentry(call, found, flags);
}

static int
fast_open(struct call *call)
{
    const uint64_t *a = call->event->args;

    return open_path(call, AT_FDCWD_, a[0], (uint32_t)a[1]);
}

static int
fast_openat(struct call *call)
{
    const uint64_t *a = call->event->args;

    return open_path(call, a[0], a[1], (uint32_t)a[2]);
}

static void
add_dot(uint8_t *out, uint64_t ino, int64_t off, const char *name)
{
    struct guest_dirent entry = {.ino = ino, .off = off, .reclen = DOT_SIZE, .type = DT_DIR_};

    memset(out, 0, DOT_SIZE);
    memcpy(out, &entry, offsetof(struct guest_dirent, name));
    memcpy(out + offsetof(struct guest_dirent, name), name, strlen(name));
}

static int
is_dot(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Leave "." and ".." out of `size` bytes of records, and number the others from `offset` on.  Returns the bytes left. */
static uint32_t
tidy(uint8_t *records, uint32_t size, int64_t *offset)
{
    uint32_t used = 0;

    for (uint32_t at = 0; at < size;) {
        struct guest_dirent entry;
        uint8_t *record = records + at;

        memcpy(&entry, record, offsetof(struct guest_dirent, name));
        if (!is_dot((const char *)record + offsetof(struct guest_dirent, name))) {
            entry.off = ++*offset;
            memcpy(record, &entry, offsetof(struct guest_dirent, name));
            memmove(records + used, record, entry.reclen);
            used += entry.reclen;
        }
        at += entry.reclen;
    }
    return used;
}

/* Fill `out`: "." and ".." first, then as the host has them; offsets are numbers of entries, as in directory.py.  Guests
 * cannot write to `out`: what the host says is read there. */
static int64_t
list(struct call *call, struct pysc_file *file, struct pysc_data *data, uint8_t *out, uint32_t size)
{
    const struct pysc_dentry *dentry = &call->objects->dentries[file->dentry - 1];
    const uint32_t super = call->objects->dcaches[dentry->cache].super;
    int64_t offset = file->offset;
    uint32_t used = 0;
    long got;

    if (offset == 0) {
        if (size < 2 * DOT_SIZE)
            return -EAGAIN;
        add_dot(out, dentry->attributes.ino, 1, ".");
        add_dot(out + DOT_SIZE, call->objects->dentries[dentry->parent].attributes.ino, 2, "..");
        used = 2 * DOT_SIZE;
        offset = 2;
    }
    do {
        enter_host(call->objects, super, PYSC_SUPER_NAMES);
        got = syscall(SYS_getdents64, data->file, out + used, size - used);
        leave_host(call->objects);
        if (got < 0 && (file->offset != 0 || errno != EINVAL))
            return -errno;
        if (got > 0)
            used += tidy(out + used, (uint32_t)got, &offset);
    } while (got > 0 && used == 0);
    file->offset = offset;
    return used;
}

static int
fast_getdents64(struct call *call)
{
    const uint64_t *a = call->event->args;
    uint32_t size = (uint32_t)a[2];
    const struct pysc_dentry *dentry;
    uint8_t records[LISTING_MAX];
    struct pysc_data *data;
    struct pysc_file *file;
    int64_t n;

    if (!(file = file_at_fd(call, a[0])) || file->type != PYSC_FILE_DIRECTORY || file->faced || !file->owns ||
        call->objects->reads_watched)
        return HAND_OVER;
    dentry = &call->objects->dentries[file->dentry - 1];
    data = &call->objects->data[file->object];
    if (size > LISTING_MAX)
        size = LISTING_MAX;
    if (!pysc_is_in_tree(call->objects, dentry) || call->objects->dentries[dentry->parent].kind != DENTRY_PLAIN ||
        dentry->merged || pysc_is_top(call->objects, dentry) || !address_ok(a[1], size) ||
        pysc_super_is_slow(call->objects, call->objects->dcaches[dentry->cache].super, PYSC_SUPER_NAMES))
        return HAND_OVER;
    if (data->file < 0 && !file->offset) /* else a part was listed before it was saved */
        data->file = open_host(call->objects, dentry, O_RDONLY | O_DIRECTORY);
    if (data->file < 0)
        return HAND_OVER;
    n = list(call, file, data, records, size);
    return n < 0 ? HAND_OVER : answer_with(call, a[1], records, (uint64_t)n, n);
}

/* Whether closing it is no more than that: a withdrawn one may have locks, which end with any descriptor. */
static int
is_ours(const struct pysc_objects *objects, const struct pysc_file *file)
{
    const struct pysc_dentry *dentry = &objects->dentries[file->dentry - 1];
    const struct pysc_inode *inode = pysc_dentry_inode(objects, dentry);

    return file->owns ? pysc_is_in_tree(objects, dentry) : inode && !inode->withdrawn;
}

int32_t
pysc_file_forget(struct pysc_objects *objects, uint32_t index)
{
    struct pysc_file *file = pysc_file_at(objects, index);

    if (!file || file->faced || objects->watched || !is_ours(objects, file))
        return 0;
    if (--file->references == 0)
        release(objects, file);
    return 1;
}

int64_t
pysc_file_unseen(struct pysc_objects *objects, int64_t dentry, uint32_t index)
{
    for (; index < objects->pools[PYSC_OBJECT_FILE].n; index++) {
        const struct pysc_file *file = &objects->files[index];

        if (file->header.generation & 1 && !file->faced && (dentry < 0 || file->dentry == dentry + 1))
            return index;
    }
    return -ENOENT;
}

void
serve_open(void)
{
    pysc_fast_paths[SYS_open] = fast_open;
    pysc_fast_paths[SYS_openat] = fast_openat;
    pysc_fast_paths[SYS_getdents64] = fast_getdents64;
}
