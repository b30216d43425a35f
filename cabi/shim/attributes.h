/* statx(2), packed. */

#ifndef PYSC_ATTRIBUTES_H
#define PYSC_ATTRIBUTES_H

#include <stdint.h>

#include "host.cdef.h"

/* Of `name` below `dirfd`, not followed, or of `dirfd` itself if it is "".  0 or -errno. */
int pysc_attributes_of(int dirfd, const char *name, struct pysc_attributes *out);

#endif
