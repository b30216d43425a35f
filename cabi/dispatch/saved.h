/* Private to the dispatcher: records of objects. */
#ifndef PYSC_SAVED_H
#define PYSC_SAVED_H

#include "object.h"

/* What a record begins with.  Fields follow, and then what the object has beside its structure, to the end. */
struct pysc_saved {
    uint32_t version, kind;
    uint32_t index, generation;
    uint64_t size; /* of the record */
};

/* An open number of a table. */
struct pysc_saved_number {
    uint32_t number, file, cloexec;
};

/* Whether all that an object names lives.  What does not is made nothing in `object`, which may be a copy, if `forget`. */
int pysc_names_living(const struct pysc_objects *objects, uint32_t kind, struct pysc_header *object, int forget);
/* Whether the owner of a record lock lives. */
int pysc_owner_lives(const struct pysc_objects *objects, uint64_t owner);

#endif
