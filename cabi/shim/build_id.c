/* Which build this is; the compiler is told. */

#include "build_id.cdef.h"

const char *
pysc_build_id(void)
{
    return PYSC_BUILD_ID;
}
