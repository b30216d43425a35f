/* What Python shows of its own dentries, and where it says that mounts lead. */

#define _GNU_SOURCE
#include "dcache.h"

#include <string.h>

void
pysc_dentry_show(struct pysc_objects *objects, uint32_t index, uint32_t inode)
{
    struct pysc_dentry *dentry = pysc_dentry_at(objects, index);

    if (!dentry || !pysc_inode_at(objects, inode))
        return;
    dentry->shown = SHOWN_INODE;
    dentry->inode = inode;
    dentry->inode_generation = objects->inodes[inode].header.generation;
    if (objects->dcaches[dentry->cache].tree < 0 || pysc_is_top(objects, dentry))
        return;
    if (!pysc_is_in_tree(objects, &objects->dentries[dentry->parent]))
        dentry->withdrawn |= PYSC_WITHDRAWN_SHOWN;
    else if (dentry->kind == DENTRY_UNKNOWN && !dentry->withdrawn)
        pysc_dentry_ask(objects, index); /* so that it is known whether what is below is the tree's */
}

void
pysc_dentry_hide(struct pysc_objects *objects, uint32_t index)
{
    struct pysc_dentry *dentry = pysc_dentry_at(objects, index);

    if (!dentry)
        return;
    dentry->shown = SHOWN_NOTHING;
    dentry->covered = 0;
    dentry->withdrawn &= (uint8_t)~PYSC_WITHDRAWN_SHOWN;
    dentry->era++;
    pysc_dentry_leave(objects, index);
}

void
pysc_dentry_show_absent(struct pysc_objects *objects, uint32_t parent, const char *name, uint64_t length)
{
    int64_t index = pysc_dentry_enter(objects, parent, name, length);

    if (index < 0)
        return;
    objects->dentries[index].shown = SHOWN_ABSENT;
    objects->dentries[index].absent_era = objects->dentries[parent].era;
    objects->dentries[index].users--; /* it stays, if there is room */
}

void
pysc_dentry_hide_absent(struct pysc_objects *objects, uint32_t parent, const char *name, uint64_t length)
{
    struct pysc_dentry *dentry = pysc_dentry_find(objects, parent, name, length);

    if (dentry && dentry->shown == SHOWN_ABSENT)
        dentry->shown = SHOWN_NOTHING;
}

void
pysc_dentry_cover(struct pysc_objects *objects, uint32_t index)
{
    struct pysc_dentry *dentry = pysc_dentry_at(objects, index);

    if (dentry)
        dentry->covered = 1;
}

static struct crossing *
crossing_of(struct pysc_objects *objects, uint32_t mount, uint32_t dentry)
{
    return &objects->crossings[(mount * 31 + dentry) & (CROSSINGS - 1)];
}

void
pysc_crossing_note(struct pysc_objects *objects, uint32_t mount, uint32_t dentry, uint32_t below, uint32_t root)
{
    *crossing_of(objects, mount, dentry) = (struct crossing){mount, dentry, below, root};
}

void
pysc_crossings_forget(struct pysc_objects *objects)
{
    memset(objects->crossings, 0, sizeof objects->crossings);
}

const struct crossing *
pysc_crossing_find(struct pysc_objects *objects, uint32_t mount, uint32_t dentry)
{
    const struct crossing *crossing = crossing_of(objects, mount, dentry);

    return mount && crossing->mount == mount && crossing->dentry == dentry ? crossing : NULL;
}

void
pysc_mount_note(struct pysc_objects *objects, uint32_t mount, int32_t executes)
{
    uint64_t bit = 1ULL << mount % 64;

    if (mount >= MOUNTS_NOTED)
        return;
    if (executes)
        objects->executes[mount / 64] |= bit;
    else
        objects->executes[mount / 64] &= ~bit;
}

void
pysc_links_leave(struct pysc_objects *objects)
{
    objects->leaves_links = 1;
}

int
pysc_mount_executes(const struct pysc_objects *objects, uint32_t mount)
{
    return mount < MOUNTS_NOTED && (objects->executes[mount / 64] >> mount % 64 & 1);
}

int
pysc_dentry_view(const struct pysc_objects *objects, const struct pysc_dentry *dentry, struct view *view)
{
    const struct pysc_inode *inode = pysc_dentry_inode(objects, dentry);

    if (inode)
        *view = (struct view){inode->mode, inode->uid, inode->gid};
    else if (pysc_is_in_tree(objects, dentry))
        *view = (struct view){dentry->attributes.mode, dentry->attributes.uid, dentry->attributes.gid};
    else
        return 0;
    return 1;
}

void
pysc_file_place(struct pysc_objects *objects, struct pysc_file *file, uint32_t dentry, uint32_t mount)
{
    pysc_dentry_use(objects, dentry);
    file->dentry = dentry + 1;
    file->era = objects->dentries[dentry].era;
    file->mount = mount;
}
