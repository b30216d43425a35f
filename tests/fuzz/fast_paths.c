/* The whole dispatcher with a guest that writes anything into its channel. */

#include "check.h"
#include "caller.h"
#include "invariants.h"

#define ROUNDS 150000

static struct pysc_table *table;

static void
check_objects(void)
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

#define WAITED 9 /* the number of a pipe that a read waits for, while it is open */
static struct pysc_pipe *awaited_pipe;
static uint32_t awaited_file, ends_of_waits[3];

static void
open_awaited(void)
{
    awaited_file = new_pipe_end(awaited_pipe, O_RDONLY);
    objects->files[awaited_file].references = 1;
    CHECK(pysc_table_put(table, WAITED, awaited_file, 0) >= 0);
}

/* What others do while the thread waits, whose number may be closed: they write, close the other end, or want it. */
static void
end_wait(void)
{
    struct pysc_file *file = &objects->files[awaited_file];
    uint64_t how = next() % 3;

    CHECK(file->references == 2 && awaited_pipe->reader == thread + 1);
    if (next() % 2) {
        CHECK(pysc_table_remove(objects, table, WAITED) == awaited_file);
        file->references--;
    }
    ends_of_waits[how]++;
    awaited_pipe->writers = how != 1;
    if (how == 0)
        CHECK(pysc_pipe_put(objects, awaited_pipe, "awaited", 7) == 0);
    if (how == 2)
        CHECK(pysc_thread_rouse(engine, thread) == 1);
    else
        pysc_pipe_rouse(objects, awaited_pipe);
    CHECK(!awaited_pipe->reader);
}

/* A reference to what was waited with is ours. */
static void
give_up_awaited(int64_t file)
{
    CHECK(file == awaited_file && lives(&objects->files[file].header) && objects->files[file].references > 0);
    if (--objects->files[file].references == 0)
        pysc_object_free(objects, PYSC_OBJECT_FILE, (uint32_t)file);
}

static int replied; /* the last reply was one that may come back as undone */
static long undone;

/* What Python does with a call that is handed over. */
static void
take_events(const struct pysc_event *events, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        CHECK(events[i].kind <= PYSC_BORN || (events[i].kind == PYSC_LEFT && objects->files[events[i].id].references == 1));
        CHECK(events[i].kind != PYSC_UNDONE || (replied && slot->kind == PYSC_KIND_UNDONE));
        undone += events[i].kind == PYSC_UNDONE;
        if (events[i].kind == PYSC_LEFT)
            give_up_awaited(events[i].id);
        if (events[i].kind == PYSC_RESUMED)
            give_up_awaited(pysc_thread_take_held(engine, thread));
    }
    if (pysc_thread_waits(engine, thread)) {
        end_wait();
        return;
    }
    CHECK(pysc_thread_take_held(engine, thread) == -ENOENT);
    if (pysc_table_get(table, WAITED) < 0) {
        CHECK(!lives(&objects->files[awaited_file].header));
        open_awaited();
    }
    CHECK(objects->files[awaited_file].references == 1);
    awaited_pipe->writers = 1;
    if (engine->threads[thread].state == STATE_STOPPED) {
        replied = next() % 4 == 0;
        CHECK((replied ? pysc_reply_undoable : pysc_reply)(engine, thread, -ENOSYS) >= 0);
    }
    if (next() % 16 == 0) { /* items that are woken are put on the list */
        struct pysc_item *item = pysc_item_at(objects, (uint32_t)(next() % 3));

        pysc_epoll_add(objects, epoll, item);
        if (next() % 8 == 0)
            item->events = (uint32_t)next();
    }
    if (next() % 512 == 0)
        pysc_data_donate(objects, &objects->data[1], objects->data[1].file);
}

/* A thread is removed that waits. */
static void
end_beside_wait(void)
{
    struct pysc_event events[64];

    pysc_pipe_drop(awaited_pipe, awaited_pipe->size);
    slot->kind = PYSC_KIND_SYSCALL;
    slot->nr = SYS_read;
    slot->args[0] = WAITED;
    slot->args[1] = MEMORY;
    slot->args[2] = 1;
    __atomic_store_n(&slot->turn, PYSC_TURN_SENTRY, __ATOMIC_SEQ_CST);
    pysc_space_channel(engine, 0)->pending[0] = 1;
    CHECK(pysc_wait(engine, 0, events, 64) == 0 && pysc_thread_waits(engine, thread));
    CHECK(pysc_thread_remove(engine, thread) == awaited_file && !awaited_pipe->reader);
    CHECK(objects->files[awaited_file].references == 2);
}

int
main(void)
{
    begin_guest();
    objects = pysc_objects_new();
    table = pysc_table_at(objects, (uint32_t)pysc_object_new(objects, PYSC_OBJECT_TABLE));
    make_files(table);
    awaited_pipe = pysc_pipe_at(objects, (uint32_t)pysc_object_new(objects, PYSC_OBJECT_PIPE));
    awaited_pipe->capacity = 65536;
    awaited_pipe->writers = 1;
    open_awaited();
    pysc_engine_serve(engine, objects);
    CHECK(pysc_thread_set_quiet(engine, thread, 1) == 0);
    CHECK(pysc_thread_use_table(engine, thread, table->header.index) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        report_next();
        if (slot->nr == SYS_read && next() % 4 == 0)
            slot->args[0] = WAITED;
        make_call(take_events);
        check_objects();
        if (objects->locks[0].n > 100)
            pysc_locks_release(&objects->locks[0], pysc_table_lock_owner(table));
        if (round % 8192 == 0)
            check_invariants(objects);
    }
    CHECK(pysc_engine_counters(engine)->served > ROUNDS / 8);
    CHECK(ends_of_waits[0] > 100 && ends_of_waits[1] > 100 && ends_of_waits[2] > 100);
    CHECK(undone > 100);
    end_beside_wait();
    pysc_engine_free(engine);
    pysc_objects_free(objects);
    puts("done");
    return 0;
}
