/* Path walking (path_resolution(7)) over the dentry cache, as walk.py does it over everything. */

#define _GNU_SOURCE
#include "fast.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define LINKS_MAX 40

/* What is still to be walked, and where we are. */
struct walker {
    const struct call *call;
    const struct pysc_context *context;
    const struct pysc_access *access;
    uint32_t here, mount;
    uint32_t links;
    uint32_t at; /* the next byte of `text` */
    int slash;   /* slashes follow the last name: it must be a directory */
    char text[2 * PATH_MAX];
};

int
is_permitted(const struct pysc_access *access, const struct view *view, uint32_t wanted)
{
    uint32_t mode = view->mode, granted = mode;
    int directory = S_ISDIR(mode);

    if (access->fsuid == view->uid)
        granted = mode >> 6;
    else if (access->fsgid == view->gid)
        granted = mode >> 3;
    else if (access->has_groups && ((mode >> 3) ^ mode) & wanted)
        return -1;
    if (!(wanted & ~granted))
        return 1;
    if (access->override && (directory || mode & 0111 || !(wanted & MAY_EXEC)))
        return 1;
    return access->read_search && (wanted == MAY_READ || (directory && !(wanted & MAY_WRITE)));
}

static struct pysc_dentry *
here(const struct walker *w)
{
    return &w->call->objects->dentries[w->here];
}

static int
copy_path(struct walker *w, uint64_t address)
{
    const struct pysc_slot *slot = w->call->thread->slot;
    const uint8_t *hint = hint_at(w->call, address, 1);
    size_t room;

    if (!hint)
        return 0;
    room = (size_t)(slot->data + PYSC_DATA_SIZE - hint);
    memcpy(w->text, hint, room < PATH_MAX ? room : PATH_MAX); /* it may change meanwhile: we look at the copy */
    return memchr(w->text, 0, room < PATH_MAX ? room : PATH_MAX) != NULL;
}

/* Be at a dentry (index + 1), if it still is what it was. */
static int
be_at(struct walker *w, uint32_t dentry, uint32_t era, uint32_t mount)
{
    if (!dentry || w->call->objects->dentries[dentry - 1].era != era)
        return 0;
    w->here = dentry - 1;
    w->mount = mount;
    return 1;
}

static int
start_at_root(struct walker *w)
{
    return be_at(w, w->context->root, w->context->root_era, w->context->root_mount);
}

static int
start(struct walker *w, uint64_t dirfd)
{
    const struct pysc_file *file;

    if (w->text[0] == '/')
        return start_at_root(w);
    if ((uint32_t)dirfd == AT_FDCWD_)
        return be_at(w, w->context->working, w->context->working_era, w->context->working_mount);
    file = file_at_fd(w->call, dirfd);
    return file && be_at(w, file->dentry, file->era, file->mount);
}

static void
skip_slashes(struct walker *w)
{
    while (w->text[w->at] == '/')
        w->at++;
}

/* Walk the link's text before what is left. */
static int64_t
follow(struct walker *w, struct pysc_dentry *link)
{
    const char *target = pysc_dentry_target(w->call->objects, link);
    size_t length, left = strlen(w->text + w->at);

    if (!target)
        return NOT_OURS;
    if (++w->links > LINKS_MAX)
        return -ELOOP;
    length = strlen(target);
    if (length == 0)
        return -ENOENT;
    if (length + 1 + left + 1 > sizeof w->text)
        return NOT_OURS;
    memmove(w->text + length + 1, w->text + w->at, left + 1);
    memcpy(w->text, target, length);
    w->text[length] = left ? '/' : 0;
    w->at = 0;
    if (!left && target[length - 1] == '/')
        w->slash = 1;
    return target[0] == '/' && !start_at_root(w) ? NOT_OURS : 0;
}

/* What is mounted here. */
static int64_t
cross(struct walker *w)
{
    const struct crossing *crossing;

    if (!here(w)->covered)
        return 0;
    crossing = pysc_crossing_find(w->call->objects, w->mount, w->here);
    if (!crossing)
        return NOT_OURS;
    w->mount = crossing->below;
    w->here = crossing->root;
    return 0;
}

static int64_t
go_up(struct walker *w)
{
    if (w->context->root == w->here + 1 && w->context->root_mount == w->mount)
        return 0;
    if (pysc_is_top(w->call->objects, here(w)))
        return NOT_OURS; /* into another mount, maybe */
    w->here = here(w)->parent;
    return cross(w);
}

/* One name.  0 when it was walked. */
static int64_t
step(struct walker *w, const char *name, size_t length, uint32_t flags)
{
    struct pysc_objects *objects = w->call->objects;
    struct pysc_dentry *child;
    int last = w->text[w->at] == 0;
    struct view view;

    if (length == 1 && name[0] == '.')
        return 0;
    if (length == 2 && name[0] == '.' && name[1] == '.')
        return go_up(w);
    if (length > NAME_MAX)
        return -ENAMETOOLONG;
    child = pysc_dentry_look_up(objects, w->here, name, length);
    if (!child)
        return NOT_OURS;
    if (child->shown == SHOWN_ABSENT && child->absent_era == here(w)->era)
        return -ENOENT;
    if (child->kind == DENTRY_ABSENT && !child->withdrawn && pysc_is_in_tree(objects, here(w)))
        return -ENOENT;
    if (child->covered) {
        w->here = child->header.index;
        return cross(w);
    }
    if (!pysc_dentry_view(objects, child, &view))
        return NOT_OURS;
    if (S_ISLNK(view.mode) && (!last || w->slash || flags & WALK_FOLLOW))
        return pysc_is_in_tree(objects, child) && !objects->leaves_links ? follow(w, child) : NOT_OURS;
    w->here = child->header.index;
    return 0;
}

static int64_t
walk(struct walker *w, uint32_t flags, struct view *view)
{
    for (skip_slashes(w); w->text[w->at]; skip_slashes(w)) {
        const char *name = w->text + w->at;
        size_t length = strcspn(name, "/");
        char copy[NAME_MAX + 2];
        int64_t failed;
        int may;

        if (!pysc_dentry_view(w->call->objects, here(w), view))
            return NOT_OURS;
        if (!S_ISDIR(view->mode))
            return -ENOTDIR;
        may = is_permitted(w->access, view, MAY_EXEC);
        if (may <= 0)
            return may < 0 ? NOT_OURS : -EACCES;
        w->at += (uint32_t)length;
        if (w->text[w->at] == '/') {
            skip_slashes(w);
            w->slash = w->slash || w->text[w->at] == 0;
        }
        memcpy(copy, name, length <= NAME_MAX ? length : NAME_MAX + 1); /* a link's text takes its place */
        failed = step(w, copy, length, flags);
        if (failed)
            return failed;
    }
    if (!pysc_dentry_view(w->call->objects, here(w), view))
        return NOT_OURS;
    if ((w->slash || flags & WALK_DIRECTORY) && !S_ISDIR(view->mode))
        return -ENOTDIR;
    return w->here;
}

struct found
walk_path(const struct call *call, uint64_t dirfd, uint64_t address, uint32_t flags, const struct pysc_access *access)
{
    struct found found = {.dentry = NOT_OURS};
    struct walker w;

    w.call = call;
    w.access = access;
    w.at = w.links = w.mount = 0;
    w.slash = 0;
    w.context = context_of(call->objects, call->thread);
    if (w.context && copy_path(&w, address) && w.text[0] && start(&w, dirfd))
        found.dentry = walk(&w, flags, &found.view);
    found.mount = w.mount;
    return found;
}
