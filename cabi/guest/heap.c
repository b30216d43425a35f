/* brk(2): like all anonymous memory the heap is mapped here.  Nothing depends on what is said of it in the channel. */

#include "guest.h"

#define PROT_RW 3
#define MAP_HEAP 0x100022 /* PRIVATE ANONYMOUS FIXED_NOREPLACE */

/* Returns what is to be unmapped from the new end on. */
static uint64_t
set_end(struct space *space, uint64_t end)
{
    struct heap *heap = &space->heap;
    uint64_t mapped = page_up(heap->end), wanted = page_up(end);
    const uint64_t more[6] = {mapped, wanted - mapped, PROT_RW, MAP_HEAP, (uint64_t)-1};

    if (wanted > mapped && memory_call(space, __NR_mmap, more) != (long)mapped)
        return 0;
    heap->end = end;
    return wanted < mapped ? mapped - wanted : 0;
}

/* Move the end of the heap; returns where it is now, changed or not. */
int64_t
move_heap(struct context *c, uint64_t end)
{
    struct space *space = c->r->space;
    struct pysc_channel *channel = c->r->channel;
    struct heap *heap = &space->heap;
    uint64_t surplus = 0, now;

    lock_space(space);
    if (!heap->start)
        heap->start = heap->end = channel->heap_start;
    if (end >= heap->start && end < PYSC_TASK_SIZE && end - heap->start <= channel->heap_limit)
        surplus = set_end(space, end);
    now = channel->heap_end = heap->end;
    unlock_space(space);
    if (surplus)
        memory_call(space, __NR_munmap, (uint64_t[6]){page_up(now), surplus});
    return (int64_t)now;
}
