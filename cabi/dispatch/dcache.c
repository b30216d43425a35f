/* The dentry cache: names found by hash, looked up in a tree of the host's, given up when they are many. */

#define _GNU_SOURCE
#include "dcache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SWEEP 64 /* dentries that one search for room looks at */

static uint64_t
hash_of(const struct pysc_objects *objects, uint32_t parent, const char *name, size_t length)
{
    uint64_t hash = objects->key ^ parent * 0x9e3779b97f4a7c15ULL;

    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (uint8_t)name[i]) * 0x100000001b3ULL;
    return hash ^ hash >> 29;
}

static uint32_t *
bucket_of(struct pysc_objects *objects, uint64_t hash)
{
    return &objects->buckets[hash & (DENTRY_BUCKETS - 1)];
}

static struct pysc_dentry *
find(struct pysc_objects *objects, uint32_t parent, uint64_t hash, const char *name, size_t length)
{
    uint32_t number = *bucket_of(objects, hash);

    while (number) {
        struct pysc_dentry *dentry = &objects->dentries[number - 1];

        if (dentry->hash == hash && dentry->parent == parent && dentry->length == length &&
            memcmp(dentry->name, name, length) == 0)
            return dentry;
        number = dentry->next;
    }
    return NULL;
}

struct pysc_dentry *
pysc_dentry_find(struct pysc_objects *objects, uint32_t parent, const char *name, size_t length)
{
    return find(objects, parent, hash_of(objects, parent, name, length), name, length);
}

/* Out of its bucket and its parent's count, and gone. */
static void
drop(struct pysc_objects *objects, struct pysc_dentry *dentry)
{
    uint32_t *link = bucket_of(objects, dentry->hash);

    while (*link != dentry->header.index + 1)
        link = &objects->dentries[*link - 1].next;
    *link = dentry->next;
    objects->dentries[dentry->parent].children--;
    pysc_object_free(objects, PYSC_OBJECT_DENTRY, dentry->header.index);
}

int
pysc_dentry_can_drop(const struct pysc_objects *objects, const struct pysc_dentry *dentry)
{
    return !dentry->users && !dentry->withdrawn && !dentry->merged && !pysc_is_top(objects, dentry) &&
           dentry->shown != SHOWN_INODE;
}

static int
can_drop(const struct pysc_objects *objects, const struct pysc_dentry *dentry)
{
    return !dentry->children && pysc_dentry_can_drop(objects, dentry);
}

/* Give up some that were not looked at since the last time. */
static void
sweep(struct pysc_objects *objects)
{
    uint32_t n = objects->pools[PYSC_OBJECT_DENTRY].n;

    for (uint32_t i = 0; i < SWEEP && n; i++) {
        struct pysc_dentry *dentry;

        objects->hand = (objects->hand + 1) % n;
        dentry = pysc_dentry_at(objects, objects->hand);
        if (!dentry || !can_drop(objects, dentry))
            continue;
        if (dentry->recent)
            dentry->recent = 0;
        else
            drop(objects, dentry);
    }
}

static void
link_dentry(struct pysc_objects *objects, struct pysc_dentry *dentry, uint64_t hash)
{
    dentry->hash = hash;
    dentry->next = *bucket_of(objects, hash);
    *bucket_of(objects, hash) = dentry->header.index + 1;
}

int
pysc_dentry_link(struct pysc_objects *objects, struct pysc_dentry *dentry)
{
    uint64_t hash = hash_of(objects, dentry->parent, dentry->name, dentry->length);

    if (find(objects, dentry->parent, hash, dentry->name, dentry->length))
        return -EEXIST;
    link_dentry(objects, dentry, hash);
    objects->dentries[dentry->parent].children++;
    return 0;
}

static struct pysc_dentry *
add(struct pysc_objects *objects, uint32_t parent, uint64_t hash, const char *name, size_t length)
{
    char *copy = malloc(length + 1);
    struct pysc_dentry *dentry;
    int64_t index;

    if (!copy)
        return NULL;
    objects->dentries[parent].children++; /* so that it outlives the sweep */
    if (objects->pools[PYSC_OBJECT_DENTRY].living >= MANY_DENTRIES)
        sweep(objects);
    index = pysc_object_new(objects, PYSC_OBJECT_DENTRY);
    if (index < 0) {
        objects->dentries[parent].children--;
        free(copy);
        return NULL;
    }
    memcpy(copy, name, length);
    copy[length] = 0;
    dentry = &objects->dentries[index];
    dentry->cache = objects->dentries[parent].cache;
    dentry->parent = parent;
    dentry->name = copy;
    dentry->length = (uint16_t)length;
    link_dentry(objects, dentry, hash);
    return dentry;
}

int
pysc_dentry_path(const struct pysc_objects *objects, const struct pysc_dentry *dentry, char path[PATH_MAX])
{
    size_t at = PATH_MAX - 1;

    path[at] = 0;
    while (!pysc_is_top(objects, dentry)) {
        if (dentry->length + 1U > at)
            return -ENAMETOOLONG;
        if (path[at])
            path[--at] = '/';
        at -= dentry->length;
        memcpy(path + at, dentry->name, dentry->length);
        dentry = &objects->dentries[dentry->parent];
    }
    memmove(path, path + at, PATH_MAX - at);
    return 0;
}

static int
is_plain(const struct pysc_dcache *cache, const struct pysc_attributes *a)
{
    if (a->mnt_id != cache->host_mount || (!cache->overlaid && a->dev != cache->host_device))
        return 0;
    return S_ISDIR(a->mode) || ((S_ISREG(a->mode) || S_ISLNK(a->mode)) && a->nlink == 1);
}

static int
is_slow(struct pysc_objects *objects, const struct pysc_dentry *dentry)
{
    return pysc_super_is_slow(objects, objects->dcaches[dentry->cache].super, PYSC_SUPER_NAMES);
}

/* What the host says of it, but for what Python does. */
static void
take_attributes(struct pysc_dentry *dentry, const struct pysc_attributes *said)
{
    struct pysc_attributes attributes = *said;

    if (dentry->merged) {
        attributes.mode = dentry->attributes.mode;
        attributes.uid = dentry->attributes.uid;
        attributes.gid = dentry->attributes.gid;
    }
    dentry->attributes = attributes;
}

/* Ask the host what it is.  0, or -errno if there is no answer. */
static int
look_up(struct pysc_objects *objects, struct pysc_dentry *dentry)
{
    const struct pysc_dcache *cache = &objects->dcaches[dentry->cache];
    struct pysc_attributes attributes;
    char path[PATH_MAX];
    int failed = pysc_dentry_path(objects, dentry, path);

    if (!failed) {
        enter_host(objects, cache->super, PYSC_SUPER_NAMES);
        failed = pysc_attributes_of(cache->tree, path, &attributes);
        leave_host(objects);
    }
    if (failed == -ENOENT) {
        dentry->kind = DENTRY_ABSENT;
        return 0;
    }
    if (failed)
        return failed;
    take_attributes(dentry, &attributes);
    dentry->kind = is_plain(cache, &attributes) ? DENTRY_PLAIN : DENTRY_OTHER;
    return 0;
}

struct pysc_dentry *
pysc_dentry_look_up(struct pysc_objects *objects, uint32_t parent, const char *name, size_t length)
{
    uint64_t hash = hash_of(objects, parent, name, length);
    struct pysc_dentry *dentry = find(objects, parent, hash, name, length);
    int in_tree = pysc_is_in_tree(objects, &objects->dentries[parent]);
    int asks = in_tree && (!dentry || (dentry->kind == DENTRY_UNKNOWN && !dentry->withdrawn));

    if (asks && is_slow(objects, &objects->dentries[parent]))
        return NULL;
    if (!dentry && in_tree)
        dentry = add(objects, parent, hash, name, length);
    if (!dentry)
        return NULL;
    dentry->recent = 1;
    if (asks && look_up(objects, dentry) < 0) {
        if (can_drop(objects, dentry))
            drop(objects, dentry);
        return NULL;
    }
    return dentry;
}

const char *
pysc_dentry_target(struct pysc_objects *objects, struct pysc_dentry *dentry)
{
    char path[PATH_MAX], target[PATH_MAX];
    ssize_t size;

    if (dentry->target)
        return dentry->target;
    if (is_slow(objects, dentry) || pysc_dentry_path(objects, dentry, path) < 0)
        return NULL;
    enter_host(objects, objects->dcaches[dentry->cache].super, PYSC_SUPER_NAMES);
    size = readlinkat(objects->dcaches[dentry->cache].tree, path, target, sizeof target - 1);
    leave_host(objects);
    if (size < 0)
        return NULL;
    target[size] = 0;
    dentry->target = strdup(target);
    return dentry->target;
}

int64_t
pysc_names_key(struct pysc_objects *objects, uint64_t key)
{
    if (objects->pools[PYSC_OBJECT_DENTRY].living)
        return -EBUSY;
    objects->key = key;
    return 0;
}

/* The directory at the top of a cache, or nothing: 0, or -errno. */
static int
attributes_of_tree(int32_t tree, struct pysc_attributes *attributes)
{
    int failed = tree < 0 ? 0 : pysc_attributes_of(tree, "", attributes);

    return failed ? failed : tree >= 0 && !S_ISDIR(attributes->mode) ? -ENOTDIR : 0;
}

/* The cache is of that tree. */
static void
plant(struct pysc_objects *objects, struct pysc_dcache *cache, int32_t tree, const struct pysc_attributes *attributes)
{
    struct pysc_dentry *top = &objects->dentries[cache->top];

    cache->tree = tree;
    cache->host_device = attributes->dev;
    cache->host_mount = attributes->mnt_id;
    top->kind = tree < 0 ? DENTRY_UNKNOWN : DENTRY_PLAIN;
    take_attributes(top, attributes);
}

int64_t
pysc_dcache_set_tree(struct pysc_objects *objects, uint32_t index, int32_t tree)
{
    struct pysc_dcache *cache = (struct pysc_dcache *)pysc_object_at(objects, PYSC_OBJECT_DCACHE, index);
    struct pysc_attributes attributes = {0};
    int failed;

    if (!cache || !cache->missing || tree < 0)
        return -EINVAL;
    failed = attributes_of_tree(tree, &attributes);
    if (failed)
        return failed;
    plant(objects, cache, tree, &attributes);
    cache->missing = 0;
    return 0;
}

int64_t
pysc_dcache_new(struct pysc_objects *objects, int32_t tree, uint32_t super, uint64_t device, int32_t overlaid)
{
    struct pysc_attributes attributes = {0};
    int failed = attributes_of_tree(tree, &attributes);
    int64_t index, top;

    if (failed)
        return failed;
    index = pysc_object_new(objects, PYSC_OBJECT_DCACHE);
    if (index < 0)
        return index;
    top = pysc_object_new(objects, PYSC_OBJECT_DENTRY);
    if (top < 0) {
        pysc_object_free(objects, PYSC_OBJECT_DCACHE, (uint32_t)index);
        return top;
    }
    objects->dcaches[index].super = super;
    objects->dcaches[index].top = (uint32_t)top;
    objects->dcaches[index].device = device;
    objects->dcaches[index].overlaid = overlaid != 0;
    objects->dentries[top].cache = (uint32_t)index;
    objects->dentries[top].parent = (uint32_t)top;
    plant(objects, &objects->dcaches[index], tree, &attributes);
    return index;
}

void
pysc_dcache_disable(struct pysc_objects *objects, uint32_t cache)
{
    objects->dcaches[cache].disabled = 1;
}

void
pysc_dcache_free(struct pysc_objects *objects, uint32_t cache)
{
    const struct pysc_dentry *top = &objects->dentries[objects->dcaches[cache].top];

    pysc_dcache_disable(objects, cache);
    if (top->users || top->children) /* what is left of it is given up piece by piece */
        return;
    pysc_object_free(objects, PYSC_OBJECT_DENTRY, top->header.index);
    pysc_object_free(objects, PYSC_OBJECT_DCACHE, cache);
}

int64_t
pysc_dcache_top(struct pysc_objects *objects, uint32_t cache)
{
    uint32_t top = objects->dcaches[cache].top;

    objects->dentries[top].users++;
    return top;
}

int64_t
pysc_dentry_enter(struct pysc_objects *objects, uint32_t parent, const char *name, uint64_t length)
{
    struct pysc_dentry *above = pysc_dentry_at(objects, parent), *dentry;
    uint64_t hash = hash_of(objects, parent, name, length);

    if (!above || length > NAME_MAX)
        return -EINVAL;
    dentry = find(objects, parent, hash, name, length);
    if (!dentry)
        dentry = add(objects, parent, hash, name, length);
    if (!dentry) {
        pysc_dcache_disable(objects, above->cache);
        return -ENOMEM;
    }
    dentry->users++;
    return dentry->header.index;
}

int64_t
pysc_dentry_ask(struct pysc_objects *objects, uint32_t index)
{
    struct pysc_dentry *dentry = pysc_dentry_at(objects, index);

    if (!dentry)
        return -ENOENT;
    return dentry->kind == DENTRY_UNKNOWN ? look_up(objects, dentry) : 0;
}

void
pysc_dentry_leave(struct pysc_objects *objects, uint32_t index)
{
    struct pysc_dentry *dentry = pysc_dentry_at(objects, index);

    if (!dentry)
        return;
    dentry->users--;
    if (dentry->kind == DENTRY_UNKNOWN && can_drop(objects, dentry))
        drop(objects, dentry);
}

int64_t
pysc_dentry_withdraw(struct pysc_objects *objects, uint32_t index, uint32_t reason)
{
    struct pysc_dentry *dentry = pysc_dentry_at(objects, index);

    if (!dentry)
        return -ENOENT;
    dentry->withdrawn |= (uint8_t)reason;
    return dentry->users;
}

void
pysc_dentry_return(struct pysc_objects *objects, uint32_t index, uint32_t reason)
{
    struct pysc_dentry *dentry = pysc_dentry_at(objects, index);

    if (dentry)
        dentry->withdrawn &= (uint8_t)~reason;
}

void
pysc_dentry_merge(struct pysc_objects *objects, uint32_t index, uint32_t mode, uint32_t uid, uint32_t gid)
{
    struct pysc_dentry *dentry = pysc_dentry_at(objects, index);

    if (!dentry)
        return;
    dentry->merged = 1;
    dentry->attributes.mode = mode;
    dentry->attributes.uid = uid;
    dentry->attributes.gid = gid;
}

void
pysc_dentry_use(struct pysc_objects *objects, uint32_t index)
{
    struct pysc_dentry *dentry = pysc_dentry_at(objects, index);

    if (dentry)
        dentry->users++;
}

int64_t
pysc_dentry_uses(struct pysc_objects *objects, uint32_t index)
{
    struct pysc_dentry *dentry = pysc_dentry_at(objects, index);

    return dentry ? (int64_t)dentry->users : -ENOENT;
}

int64_t
pysc_dentry_cache(struct pysc_objects *objects, uint32_t index)
{
    struct pysc_dentry *dentry = pysc_dentry_at(objects, index);

    return dentry ? (int64_t)dentry->cache : -ENOENT;
}

int64_t
pysc_dentry_parent(struct pysc_objects *objects, uint32_t index)
{
    struct pysc_dentry *dentry = pysc_dentry_at(objects, index);

    return dentry ? (int64_t)dentry->parent : -ENOENT;
}

int64_t
pysc_dentry_name(struct pysc_objects *objects, uint32_t index, void *name)
{
    struct pysc_dentry *dentry = pysc_dentry_at(objects, index);

    if (!dentry)
        return -ENOENT;
    if (dentry->name)
        memcpy(name, dentry->name, dentry->length);
    return dentry->length;
}

int64_t
pysc_dentry_attributes(struct pysc_objects *objects, uint32_t index, void *attributes, uint64_t size)
{
    struct pysc_dentry *dentry = pysc_dentry_at(objects, index);

    if (!dentry || dentry->kind != DENTRY_PLAIN || size != sizeof dentry->attributes)
        return -ENOENT;
    memcpy(attributes, &dentry->attributes, size);
    return 0;
}

void
pysc_context_set(struct pysc_objects *objects, struct pysc_context *context, int64_t root, uint32_t root_mount,
                 int64_t working, uint32_t working_mount)
{
    if (context->root)
        pysc_dentry_leave(objects, context->root - 1);
    if (context->working)
        pysc_dentry_leave(objects, context->working - 1);
    context->root = root < 0 ? 0 : (uint32_t)root + 1;
    context->root_mount = root_mount;
    context->working = working < 0 ? 0 : (uint32_t)working + 1;
    context->working_mount = working_mount;
    context->root_era = root < 0 ? 0 : objects->dentries[root].era;
    context->working_era = working < 0 ? 0 : objects->dentries[working].era;
}
