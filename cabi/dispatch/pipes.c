/* The rings of pipes. */

#define _GNU_SOURCE
#include "object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Copy out of the ring, from any place on. */
static void
copy_from(const struct pysc_pipe *pipe, uint64_t from, void *to, uint64_t size)
{
    uint64_t at = from & (pipe->allocated - 1);
    uint64_t first = pipe->allocated - at < size ? pipe->allocated - at : size;

    memcpy(to, pipe->bytes + at, first);
    memcpy((uint8_t *)to + first, pipe->bytes, size - first);
}

/* Make the ring have room for so many bytes and what is owed. */
static int
grow(struct pysc_pipe *pipe, uint64_t size)
{
    uint64_t allocated = pipe->allocated ? pipe->allocated : PIPE_BUF_SIZE;
    uint8_t *bytes;

    while (allocated < size + pipe->owed)
        allocated *= 2;
    bytes = malloc(allocated);
    if (!bytes)
        return -ENOMEM;
    if (pipe->owed + pipe->size)
        copy_from(pipe, pipe->head - pipe->owed, bytes, pipe->owed + pipe->size);
    free(pipe->bytes);
    pipe->bytes = bytes;
    pipe->allocated = allocated;
    pipe->head = pipe->owed;
    return 0;
}

static int
make_room(const struct pysc_objects *objects, struct pysc_pipe *pipe, uint64_t size)
{
    if (size + pipe->owed <= pipe->allocated || (!is_memory_out(objects) && grow(pipe, size) == 0))
        return 0;
    if (size > pipe->allocated)
        return -ENOMEM;
    pipe->owed = 0;
    return 0;
}

int64_t
pysc_pipe_put(struct pysc_objects *objects, struct pysc_pipe *pipe, const void *bytes, uint64_t size)
{
    uint64_t at, first;

    if (size == 0)
        return 0;
    if (size > UINT32_MAX)
        return -EINVAL;
    if (make_room(objects, pipe, pipe->size + size) < 0)
        return -ENOMEM;
    at = (pipe->head + pipe->size) & (pipe->allocated - 1);
    first = pipe->allocated - at < size ? pipe->allocated - at : size;
    memcpy(pipe->bytes + at, bytes, first);
    memcpy(pipe->bytes, (const uint8_t *)bytes + first, size - first);
    pipe->size += size;
    return 0;
}

void
pysc_pipe_owe(struct pysc_pipe *pipe, uint32_t taker, uint64_t size)
{
    pipe->taker = taker;
    pipe->owed = size;
}

int64_t
pysc_pipe_drop(struct pysc_pipe *pipe, uint64_t size)
{
    if (size > pipe->size)
        size = pipe->size;
    if (!size)
        return 0;
    pipe->size -= size;
    pipe->head = (pipe->head + size) & (pipe->allocated - 1);
    pipe->moves++;
    pysc_pipe_owe(pipe, 0, 0);
    return (int64_t)size;
}

void
pysc_pipe_settle(struct pysc_pipe *pipe, uint32_t taker, int undone)
{
    if (pipe->taker != taker)
        return; /* somebody has read on */
    if (undone && !pipe->packets) {
        pipe->head = (pipe->head - pipe->owed) & (pipe->allocated - 1);
        pipe->size += pipe->owed;
        pipe->moves++;
    }
    pysc_pipe_owe(pipe, 0, 0);
}

int64_t
pysc_pipe_peek(const struct pysc_pipe *pipe, void *bytes, uint64_t size)
{
    if (size > pipe->size)
        size = pipe->size;
    if (size)
        copy_from(pipe, pipe->head, bytes, size);
    return (int64_t)size;
}

int64_t
pysc_pipe_take(struct pysc_pipe *pipe, void *bytes, uint64_t size)
{
    return pysc_pipe_drop(pipe, (uint64_t)pysc_pipe_peek(pipe, bytes, size));
}

void
pysc_pipe_rouse(struct pysc_objects *objects, struct pysc_pipe *pipe)
{
    if (!pipe->reader || objects->n_roused == MAX_ROUSED)
        return;
    objects->roused[objects->n_roused++] = pipe->reader - 1;
    pipe->reader = 0;
}
