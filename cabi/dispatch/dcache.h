/* Private to the dispatcher: the dentry cache, as fast paths use it. */
#ifndef PYSC_DCACHE_H
#define PYSC_DCACHE_H

#include <limits.h>

#include "object.h"

/* Whether it is what the host's tree has there, and may be answered for from here. */
static inline int
pysc_is_in_tree(const struct pysc_objects *objects, const struct pysc_dentry *dentry)
{
    return dentry->kind == DENTRY_PLAIN && !dentry->withdrawn && !objects->dcaches[dentry->cache].disabled;
}

/* Whether it is a tree, or a file system of Python's, as a whole. */
static inline int
pysc_is_top(const struct pysc_objects *objects, const struct pysc_dentry *dentry)
{
    return objects->dcaches[dentry->cache].top == dentry->header.index;
}

/* The inode that Python shows there, or NULL. */
static inline const struct pysc_inode *
pysc_dentry_inode(const struct pysc_objects *objects, const struct pysc_dentry *dentry)
{
    const struct pysc_inode *inode = &objects->inodes[dentry->inode];

    return dentry->shown == SHOWN_INODE && is_living(&inode->header, dentry->inode_generation) ? inode : NULL;
}

/* What permissions are checked by. */
struct view {
    uint32_t mode, uid, gid;
};
/* Whether that may be answered from. */
int pysc_dentry_view(const struct pysc_objects *objects, const struct pysc_dentry *dentry, struct view *view);
/* Where a covered dentry leads, or NULL. */
const struct crossing *pysc_crossing_find(struct pysc_objects *objects, uint32_t mount, uint32_t dentry);
/* Whether programs may be run by it. */
int pysc_mount_executes(const struct pysc_objects *objects, uint32_t mount);
/* The dentry `name` in `parent` if there is one, or NULL. */
struct pysc_dentry *pysc_dentry_find(struct pysc_objects *objects, uint32_t parent, const char *name, size_t length);
/* The dentry `name` in the directory `parent`, asked for if need be; NULL if the answer is not ours to give. */
struct pysc_dentry *pysc_dentry_look_up(struct pysc_objects *objects, uint32_t parent, const char *name, size_t length);
/* Its path below the tree.  0, or -ENAMETOOLONG. */
int pysc_dentry_path(const struct pysc_objects *objects, const struct pysc_dentry *dentry, char path[PATH_MAX]);
/* The text of a link, or NULL. */
const char *pysc_dentry_target(struct pysc_objects *objects, struct pysc_dentry *dentry);

#endif
