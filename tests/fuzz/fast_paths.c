/* The whole dispatcher with a guest that writes anything into its channel. */

#include "check.h"
#include "caller.h"
#include "invariants.h"

#define ROUNDS 150000

static void
check_objects(struct pysc_table *table)
{
    uint32_t items = 0;

    for (uint32_t fd = 0; fd < 5; fd++) {
        int64_t file = pysc_table_get(table, fd);

        CHECK(file < 0 || objects->files[file].offset >= 0);
    }
    for (uint32_t at = epoll->first; at; at = objects->items[at - 1].next)
        CHECK(++items <= 3 && objects->items[at - 1].ready);
    CHECK(objects->pipes[0].size <= objects->pipes[0].capacity);
}

/* What Python does with a call that is handed over. */
static void
take_events(const struct pysc_event *events, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        CHECK(events[i].kind <= PYSC_BORN);
    if (engine->threads[thread].state == STATE_STOPPED)
        CHECK(pysc_reply(engine, thread, -ENOSYS) >= 0);
    if (next() % 16 == 0) { /* items that are woken are put on the list */
        struct pysc_item *item = pysc_item_at(objects, (uint32_t)(next() % 3));

        pysc_epoll_add(objects, epoll, item);
        if (next() % 8 == 0)
            item->events = (uint32_t)next();
    }
    if (next() % 512 == 0)
        pysc_data_donate(objects, &objects->data[1], objects->data[1].file);
}

int
main(void)
{
    struct pysc_table *table;

    begin_guest();
    objects = pysc_objects_new();
    table = pysc_table_at(objects, (uint32_t)pysc_object_new(objects, PYSC_OBJECT_TABLE));
    make_files(table);
    pysc_engine_serve(engine, objects);
    CHECK(pysc_thread_use_table(engine, thread, table->header.index) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        report_next();
        make_call(take_events);
        check_objects(table);
        if (objects->locks[0].n > 100)
            pysc_locks_release(&objects->locks[0], pysc_table_lock_owner(table));
        if (round % 8192 == 0)
            check_invariants(objects);
    }
    CHECK(pysc_engine_counters(engine)->served > ROUNDS / 8);
    pysc_engine_free(engine);
    pysc_objects_free(objects);
    puts("done");
    return 0;
}
