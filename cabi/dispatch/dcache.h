/* Private to the dispatcher: the dentry cache, as fast paths use it. */
#ifndef PYSC_DCACHE_H
#define PYSC_DCACHE_H

#include <limits.h>

#include "object.h"

/* Whether calls that meet it may be answered here. */
static inline int
is_served(const struct pysc_objects *objects, const struct pysc_dentry *dentry)
{
    return dentry->kind == DENTRY_PLAIN && !dentry->withdrawn && !objects->dcaches[dentry->cache].disabled;
}

/* The dentry `name` in the directory `parent`, asked for if need be; NULL if the answer is not ours to give. */
struct pysc_dentry *pysc_dentry_look_up(struct pysc_objects *objects, uint32_t parent, const char *name, size_t length);
/* Its path below the tree.  0, or -ENAMETOOLONG. */
int pysc_dentry_path(const struct pysc_objects *objects, const struct pysc_dentry *dentry, char path[PATH_MAX]);
/* The text of a link, or NULL. */
const char *pysc_dentry_target(struct pysc_objects *objects, struct pysc_dentry *dentry);

#endif
