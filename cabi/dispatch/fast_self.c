/* Fast paths of what a process asks about itself, and of random bytes. */

#define _GNU_SOURCE
#include "fast.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>

#define RANDOM_MAX 256 /* the host gives so much at once */
#define KNOWN (GRND_NONBLOCK | GRND_RANDOM)

/* Where the task works, by names that still lead there; NULL: Python knows. */
static const struct pysc_dentry *
working_directory(const struct call *call)
{
    const struct pysc_objects *objects = call->objects;
    const struct pysc_context *context = context_of(call->objects, call->thread);
    const struct pysc_dentry *dentry;
    struct view view;
    uint32_t depth = 0;

    if (!context || !context->root || !context->working ||
        context->root_mount != context->working_mount || !pysc_is_top(objects, &objects->dentries[context->root - 1]) ||
        objects->dentries[context->working - 1].cache != objects->dentries[context->root - 1].cache ||
        objects->dentries[context->working - 1].era != context->working_era ||
        objects->dentries[context->root - 1].era != context->root_era)
        return NULL;
    dentry = &objects->dentries[context->working - 1];
    for (const struct pysc_dentry *at = dentry; !pysc_is_top(objects, at); at = &objects->dentries[at->parent]) {
        if (++depth > PATH_MAX / 2 || !pysc_dentry_view(objects, at, &view))
            return NULL;
    }
    return dentry;
}

static int
fast_getcwd(struct call *call)
{
    const uint64_t *a = call->event->args;
    const struct pysc_dentry *dentry = working_directory(call);
    char path[1 + PATH_MAX] = "/";
    size_t size;

    if (!dentry || pysc_dentry_path(call->objects, dentry, path + 1) < 0)
        return HAND_OVER;
    size = strlen(path) + 1;
    return size <= a[1] && address_ok(a[0], size) ? answer_with(call, a[0], path, size, (int64_t)size) : HAND_OVER;
}

static int
fast_getrandom(struct call *call)
{
    const uint64_t *a = call->event->args, size = a[1];
    uint8_t bytes[RANDOM_MAX];

    if (!size || size > RANDOM_MAX || a[2] & ~(uint64_t)KNOWN || !address_ok(a[0], size) ||
        getrandom(bytes, size, GRND_NONBLOCK) != (ssize_t)size)
        return HAND_OVER;
    return answer_with(call, a[0], bytes, size, (int64_t)size);
}

static int
show_limit(struct call *call, uint64_t resource, uint64_t address)
{
    const struct pysc_limits *limits = &call->thread->limits;
    const uint64_t *pair;

    if (!limits->known || resource >= PYSC_LIMITS || !address_ok(address, sizeof limits->pairs[0]))
        return HAND_OVER;
    pair = limits->pairs[resource];
    return answer_with(call, address, pair, sizeof limits->pairs[0], 0);
}

static int
fast_getrlimit(struct call *call)
{
    const uint64_t *a = call->event->args;

    return show_limit(call, (uint32_t)a[0], a[1]);
}

/* Of oneself, and without a change. */
static int
fast_prlimit64(struct call *call)
{
    const uint64_t *a = call->event->args;

    return (uint32_t)a[0] || a[2] || !a[3] ? HAND_OVER : show_limit(call, (uint32_t)a[1], a[3]);
}

void
serve_self(void)
{
    pysc_fast_paths[SYS_getcwd] = fast_getcwd;
    pysc_fast_paths[SYS_getrandom] = fast_getrandom;
    pysc_fast_paths[SYS_getrlimit] = fast_getrlimit;
    pysc_fast_paths[SYS_prlimit64] = fast_prlimit64;
}

int64_t
pysc_thread_set_limits(struct pysc_engine *engine, uint32_t number, const void *pairs, uint64_t size)
{
    struct thread *thread = thread_at(engine, number);

    if (!thread)
        return -ESRCH;
    if (size != sizeof thread->limits.pairs)
        return -EINVAL;
    memcpy(thread->limits.pairs, pairs, size);
    thread->limits.known = 1;
    return 0;
}
