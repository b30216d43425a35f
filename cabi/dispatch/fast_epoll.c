/* Fast paths of epoll_wait(2): when all that is on the ready list is of kinds known here, and something of it is ready or
 * shall not be waited for.  Interest lists are Python's, which also puts items on the ready list: while it has not heard
 * of a move that a fast path made the list may lack some. */

#define _GNU_SOURCE
#include "fast.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#define MODES (EPOLLET | EPOLLONESHOT | EPOLLWAKEUP | EPOLLEXCLUSIVE)
#define AT_ONCE 4096 /* reports: they must fit in the data area */
#define LOOK_MAX 8192
#define MAX_EVENTS (INT32_MAX / (int32_t)sizeof(struct epoll_event))

_Static_assert(sizeof(struct epoll_event) == 12 && AT_ONCE * sizeof(struct epoll_event) < PYSC_DATA_SIZE, "packed");

static struct pysc_epoll *
epoll_of(const struct call *call, uint64_t fd)
{
    const struct pysc_file *file = file_at_fd(call, fd);
    struct pysc_epoll *epoll;

    if (!file || file->type != PYSC_FILE_EPOLL)
        return NULL;
    epoll = &call->objects->epolls[file->object];
    return is_living(&epoll->header, file->generation) ? epoll : NULL;
}

/* EPOLL* that an item would report now; -1: Python knows. */
static int64_t
ready_events(const struct call *call, const struct pysc_item *item)
{
    const struct pysc_file *file = &call->objects->files[item->file];
    uint32_t wanted = item->events & ~(uint32_t)MODES;
    int32_t events;

    if (!wanted)
        return 0;
    if (!is_living(&file->header, item->generation))
        return -1;
    events = poll_file(call, file);
    return events < 0 ? -1 : (int64_t)((uint32_t)events & wanted);
}

/* Whether `limit` reports can be made, or the list's end be reached, by what is known here. */
static int
is_known(const struct call *call, const struct pysc_epoll *epoll, uint32_t limit)
{
    uint32_t looked = 0;

    for (uint32_t at = epoll->first; at && limit; at = call->objects->items[at - 1].next) {
        int64_t events = ready_events(call, &call->objects->items[at - 1]);

        if (events < 0 || ++looked > LOOK_MAX)
            return 0;
        limit -= events != 0;
    }
    return 1;
}

/* Take reports off the list; level-triggered ones go to its end. */
static uint32_t
collect(struct call *call, struct pysc_epoll *epoll, uint32_t limit)
{
    struct pysc_objects *objects = call->objects;
    uint32_t again[AT_ONCE], n_again = 0, n = 0;

    while (epoll->first && n < limit) {
        struct pysc_item *item = &objects->items[epoll->first - 1];
        int64_t events = ready_events(call, item);
        struct epoll_event report = {.events = (uint32_t)events, .data.u64 = item->data};

        pysc_epoll_drop(objects, epoll, item);
        if (!events)
            continue;
        memcpy(call->thread->slot->data + n++ * sizeof report, &report, sizeof report);
        if (item->events & EPOLLONESHOT)
            item->events &= MODES;
        else if (!(item->events & EPOLLET))
            again[n_again++] = item->header.index;
    }
    for (uint32_t i = 0; i < n_again; i++)
        pysc_epoll_add(objects, epoll, &objects->items[again[i]]);
    return n;
}

static int
wait_in(struct call *call, int at_once)
{
    const uint64_t *a = call->event->args;
    struct pysc_epoll *epoll = epoll_of(call, a[0]);
    int32_t most = (int32_t)a[2];
    uint32_t n;

    if (!epoll || call->engine->told || most <= 0 || most > MAX_EVENTS ||
        !address_ok(a[1], (uint64_t)most * sizeof(struct epoll_event)))
        return HAND_OVER;
    most = most < AT_ONCE ? most : AT_ONCE;
    if (!is_known(call, epoll, (uint32_t)most))
        return HAND_OVER;
    object_lock(&epoll->header);
    n = collect(call, epoll, (uint32_t)most);
    object_unlock(&epoll->header);
    if (!n)
        return at_once ? answer(call, 0) : HAND_OVER;
    pysc_command(call->engine, call->number, PYSC_CMD_PUT, 0, a[1], n * sizeof(struct epoll_event), 0, 0, 0, 0, 0);
    return answer_and_tell(call, n, PYSC_OBJECT_EPOLL, epoll->header.index,
                           epoll->first && epoll->waits ? EVENTS_IN : 0);
}

static int
fast_epoll_wait(struct call *call)
{
    return wait_in(call, (int32_t)call->event->args[3] == 0);
}

/* With a mask it is Python's. */
static int
fast_epoll_pwait(struct call *call)
{
    return call->event->args[4] ? HAND_OVER : fast_epoll_wait(call);
}

void
serve_epoll(void)
{
    pysc_fast_paths[SYS_epoll_wait] = fast_epoll_wait;
    pysc_fast_paths[SYS_epoll_pwait] = fast_epoll_pwait;
}
