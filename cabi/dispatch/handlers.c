/* What signals do: copies, and sets. */

#define _GNU_SOURCE
#include "object.h"

#include <signal.h>
#include <string.h>

#define SIGNALS 64

int64_t
pysc_handlers_copy(struct pysc_objects *objects, const struct pysc_handlers *handlers, int32_t renewed)
{
    int64_t index = pysc_object_new(objects, PYSC_OBJECT_HANDLERS);
    struct pysc_handlers *copy;

    if (index < 0)
        return index;
    copy = &objects->handlers[index];
    if (!renewed)
        memcpy(copy->actions, handlers->actions, sizeof copy->actions);
    for (int i = 0; renewed && i < SIGNALS; i++) {
        if (handlers->actions[i].handler == (uint64_t)SIG_IGN)
            copy->actions[i].handler = (uint64_t)SIG_IGN;
    }
    return index;
}

uint64_t
pysc_handlers_ignored(const struct pysc_handlers *handlers)
{
    uint64_t set = 0;

    for (int i = 0; i < SIGNALS; i++)
        set |= (uint64_t)(handlers->actions[i].handler == (uint64_t)SIG_IGN) << i;
    return set;
}

uint64_t
pysc_handlers_caught(const struct pysc_handlers *handlers)
{
    uint64_t set = 0;

    for (int i = 0; i < SIGNALS; i++)
        set |= (uint64_t)(handlers->actions[i].handler > (uint64_t)SIG_IGN) << i;
    return set;
}
