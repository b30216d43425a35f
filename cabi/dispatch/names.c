/* Which objects name which others. */

#include "saved.h"

#define NAMES_MAX 3

/* Which fields name another object: by its index + `base`, where 0 is none, and by its generation, where 0 is none.  With
 * neither there always is one. */
#define BY_TYPE PYSC_OBJECT_KINDS /* as a description's type says */
#define NUMBER(KIND, s, member) {PYSC_OBJECT_##KIND, 1, offsetof(struct s, member), 0}
#define INDEX(KIND, s, member) {PYSC_OBJECT_##KIND, 0, offsetof(struct s, member), 0}
#define PAIR(kind, base, s, member, generation) {kind, base, offsetof(struct s, member), offsetof(struct s, generation)}
static const struct name {
    uint8_t kind, base;
    uint16_t number, generation;
} names[PYSC_OBJECT_KINDS][NAMES_MAX] = {
    [PYSC_OBJECT_FILE] = {PAIR(BY_TYPE, 0, pysc_file, object, generation), NUMBER(DENTRY, pysc_file, dentry),
                          PAIR(PYSC_OBJECT_LOCKS, 1, pysc_file, locks, locks_generation)},
    [PYSC_OBJECT_DATA] = {PAIR(PYSC_OBJECT_DATA, 0, pysc_data, target, target_generation),
                          PAIR(PYSC_OBJECT_BUDGET, 0, pysc_data, budget, budget_generation),
                          NUMBER(SUPER, pysc_data, super)},
    [PYSC_OBJECT_BUDGET] = {NUMBER(BUDGET, pysc_budget, parent)},
    [PYSC_OBJECT_CONTEXT] = {NUMBER(DENTRY, pysc_context, root), NUMBER(DENTRY, pysc_context, working)},
    [PYSC_OBJECT_DCACHE] = {INDEX(DENTRY, pysc_dcache, top), NUMBER(SUPER, pysc_dcache, super)},
    [PYSC_OBJECT_DENTRY] = {INDEX(DCACHE, pysc_dentry, cache), INDEX(DENTRY, pysc_dentry, parent),
                            PAIR(PYSC_OBJECT_INODE, 0, pysc_dentry, inode, inode_generation)},
    [PYSC_OBJECT_INODE] = {PAIR(PYSC_OBJECT_DATA, 1, pysc_inode, data, data_generation)},
    [PYSC_OBJECT_EPOLL] = {NUMBER(ITEM, pysc_epoll, first)},
    [PYSC_OBJECT_ITEM] = {PAIR(PYSC_OBJECT_FILE, 0, pysc_item, file, generation), NUMBER(ITEM, pysc_item, next)},
};

/* The kind of what a description works on; PYSC_OBJECT_KINDS: on nothing. */
static uint32_t
kind_by_type(const struct pysc_file *file)
{
    switch (file->type) {
    case PYSC_FILE_REGULAR:
    case PYSC_FILE_DIRECTORY:
        return PYSC_OBJECT_DATA;
    case PYSC_FILE_PIPE:
        return PYSC_OBJECT_PIPE;
    case PYSC_FILE_COUNTER:
        return PYSC_OBJECT_COUNTER;
    case PYSC_FILE_EPOLL:
        return PYSC_OBJECT_EPOLL;
    default:
        return PYSC_OBJECT_KINDS;
    }
}

int
pysc_names_living(const struct pysc_objects *objects, uint32_t kind, struct pysc_header *object, int forget)
{
    int all = 1;

    for (const struct name *name = names[kind]; name < names[kind] + NAMES_MAX && name->number; name++) {
        uint32_t *number = (uint32_t *)((uint8_t *)object + name->number), none = 0;
        uint32_t *generation = name->generation ? (uint32_t *)((uint8_t *)object + name->generation) : &none;
        uint32_t of = name->kind == BY_TYPE ? kind_by_type((struct pysc_file *)object) : name->kind;
        const struct pysc_header *named = pysc_object_at(objects, of, *number - name->base);

        if (named && (!name->generation || named->generation == *generation))
            continue;
        if (forget && (name->base || name->generation))
            *number = *generation = 0;
        all &= !*number && !*generation && (name->base || name->generation);
    }
    return all;
}

int
pysc_owner_lives(const struct pysc_objects *objects, uint64_t owner)
{
    const struct pysc_header *header =
        pysc_object_at(objects, owner & 1 ? PYSC_OBJECT_FILE : PYSC_OBJECT_TABLE, (uint32_t)owner >> 1);

    return header && header->generation == owner >> 32;
}
