/* The ready lists of epoll instances. */

#define _GNU_SOURCE
#include "object.h"

void
pysc_epoll_add(struct pysc_objects *objects, struct pysc_epoll *epoll, struct pysc_item *item)
{
    if (item->ready)
        return;
    item->ready = 1;
    item->next = 0;
    item->previous = epoll->last;
    if (epoll->last)
        objects->items[epoll->last - 1].next = item->header.index + 1;
    else
        epoll->first = item->header.index + 1;
    epoll->last = item->header.index + 1;
}

void
pysc_epoll_drop(struct pysc_objects *objects, struct pysc_epoll *epoll, struct pysc_item *item)
{
    if (!item->ready)
        return;
    if (item->previous)
        objects->items[item->previous - 1].next = item->next;
    else
        epoll->first = item->next;
    if (item->next)
        objects->items[item->next - 1].previous = item->previous;
    else
        epoll->last = item->previous;
    item->ready = 0;
    item->next = item->previous = 0;
}

int64_t
pysc_epoll_first(const struct pysc_epoll *epoll)
{
    return (int64_t)epoll->first - 1;
}
