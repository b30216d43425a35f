/* Large reads of regular files, made by the guest half straight into the guest's buffer: the bytes are copied once, on
 * the reader's core.  It is sent a descriptor that is open for reading only, which is no more than mmap(2) gives, and
 * keeps a few of them.  Each read is still this side's decision: which, where, how much, and where the offset goes.
 *
 * But pread64(2) has no offset.  A number whose description can be read from, and is of what the guest half keeps, is lent
 * to the thread that reads from it, in its slot: it asks no more.  All of that ends at once, for all threads, when a number
 * that was lent is closed, or means something else, when the bytes are elsewhere, or somebody wants to hear of reads.
 *
 * At most one message with descriptors is on its way to a space, Python's own included: whoever is told to take one
 * takes the first that is there. */

#define _GNU_SOURCE
#include "fast.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define DONATE_FROM 32768     /* bytes of a file that were read by copies when sending it begins to pay */
#define ASK_FROM (1 << 19)    /* and having a descriptor made for it, which is Python's work */
#define NONE UINT32_MAX

static uint32_t
place_of(const struct space *space, const struct pysc_data *data)
{
    for (uint32_t i = 0; i < PYSC_KEPT; i++) {
        const struct kept *kept = &space->kept[i];

        if (kept->serial && kept->data == data->header.index && kept->generation == data->header.generation &&
            kept->opened == data->opened)
            return i;
    }
    return NONE;
}

static int
is_busy(struct pysc_engine *engine, const struct space *space)
{
    const struct thread *thread = space->receiver ? thread_at(engine, space->receiver - 1) : NULL;

    return thread && thread->pending.state == PENDING_KEEP && &engine->spaces[thread->space] == space;
}

int
lend(struct call *call, const struct pysc_data *data)
{
    const struct space *space = space_of(call->engine, call->number);
    struct pysc_objects *objects = call->objects;
    uint32_t fd = (uint32_t)call->event->args[0], place = place_of(space, data);
    struct pysc_lent *lent;

    if (place == NONE)
        return 0;
    if (!call->engine->shared)
        return 1;
    if (!objects->era_shown) {
        objects->era_shown = &call->engine->shared->era;
        __atomic_store_n(objects->era_shown, ++objects->era, __ATOMIC_SEQ_CST);
    }
    objects->lent = call->table->lent = call->thread->lent = 1;
    lent = &call->thread->slot->lent[fd];
    __atomic_store_n(&lent->era, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&lent->name, space->kept[place].serial * PYSC_KEPT + place, __ATOMIC_SEQ_CST);
    __atomic_store_n(&lent->era, objects->era, __ATOMIC_SEQ_CST);
    return 1;
}

void
take_back(struct pysc_engine *engine, struct thread *thread)
{
    if (thread->lent && engine->objects)
        pysc_lent_end(engine->objects);
    thread->lent = 0;
}

enum kept_use
may_keep(const struct call *call, const struct pysc_file *file, struct pysc_data *data, uint64_t size)
{
    const struct space *space = space_of(call->engine, call->number);
    struct pysc_data *first = &call->objects->data[file->object];

    if (data->donable > 0 && place_of(space, data) != NONE)
        return KEPT_YES;
    data->served += size;
    if (data->donable > 0)
        return data->served >= DONATE_FROM && !space->sending && !is_busy(call->engine, space) ? KEPT_YES : KEPT_NO;
    if (first->offer || (size <= PYSC_DATA_SIZE && data->served < ASK_FROM))
        return KEPT_NO;
    first->offer = PYSC_OFFER_WANTED;
    return KEPT_ASK_PYTHON;
}

/* The call goes on when the descriptor has arrived. */
static int
donate(struct call *call, struct space *space, struct pysc_data *data)
{
    uint32_t place = space->next_place;
    struct stat status;
    int64_t command;

    if (fstat(data->donable, &status) != 0 || !S_ISREG(status.st_mode) ||
        pysc_donate(space->ends.socket, &data->donable, 1) != 0)
        return HAND_OVER;
    space->next_place = (place + 1) % PYSC_KEPT;
    if (space->kept[place].serial) /* there are more than places: they take turns that are long */
        call->objects->data[space->kept[place].data].served = 0;
    space->kept[place].serial = 0; /* until it has arrived */
    space->receiver = call->number + 1;
    data->donated = 1;
    command = pysc_command(call->engine, call->number, PYSC_CMD_KEEP, 0, place, ++space->serial, 0, 0, 0, 0, 0);
    call->thread->pending = (struct pending){.state = PENDING_KEEP,
                                             .place = place,
                                             .command = (uint32_t)command,
                                             .kept = {.serial = space->serial,
                                                      .data = data->header.index,
                                                      .generation = data->header.generation,
                                                      .opened = data->opened},
                                             .call = *call->event};
    pysc_flush(call->engine, call->number);
    return ANSWERED;
}

/* `size` bytes are there. */
int
read_kept(struct call *call, struct pysc_file *file, struct pysc_data *data, uint64_t address, uint64_t size,
          int64_t offset, int moves)
{
    struct space *space = space_of(call->engine, call->number);
    uint32_t place = place_of(space, data);

    if (place == NONE)
        return donate(call, space, data);
    begin_read(call, file, offset, offset + (int64_t)size, moves);
    pysc_command(call->engine, call->number, PYSC_CMD_READ, 0, place, space->kept[place].serial, address, size,
                 (uint64_t)offset, 0, 0);
    pysc_flush(call->engine, call->number);
    return ANSWERED;
}

/* The offset is moved at once, so that nobody else reads the same; it is moved back if that could not be read. */
void
begin_read(struct call *call, struct pysc_file *file, int64_t start, int64_t end, int moves)
{
    struct pending *pending = &call->thread->pending;

    pending->state = PENDING_READ;
    pending->file = 0;
    if (!moves)
        return;
    file->offset = end;
    pending->file = file->header.index + 1;
    pending->generation = file->header.generation;
    pending->start = start;
    pending->end = end;
}

/* The call is Python's, from the beginning.  Where somebody has moved the offset on meanwhile, it stays there. */
static void
undo_read(struct pysc_engine *engine, const struct pending *pending, struct pysc_event *event)
{
    struct pysc_file *file = pending->file ? pysc_file_at(engine->objects, pending->file - 1) : NULL;

    if (!file || file->header.generation != pending->generation)
        return;
    if (file->offset == pending->end && !file->moving) {
        file->offset = pending->start;
    } else {
        event->nr = event->nr == SYS_read ? SYS_pread64 : event->nr == SYS_readv ? SYS_preadv : event->nr;
        event->args[3] = (uint64_t)pending->start;
    }
}

/* The call that waited for a descriptor goes on; if none came it is Python's. */
static int
finish_keep(struct pysc_engine *engine, uint32_t number, const struct pending *pending, struct pysc_event *event)
{
    struct space *space = space_of(engine, number);
    int settled = space->awaited ? SETTLED_TELL : 0;

    space->awaited = 0;
    space->receiver = 0;
    if (event->kind != PYSC_KIND_DONE)
        return settled;
    *event = pending->call;
    if (pysc_result(engine, number, pending->command) != 0)
        return settled | SETTLED_FOR_PYTHON;
    space->kept[pending->place] = pending->kept;
    space->revoked = engine->objects->revoked - 1; /* that may have been revoked already */
    return settled;
}

int
settle(struct pysc_engine *engine, uint32_t number, struct pysc_event *event)
{
    struct pending *pending = &engine->threads[number].pending;
    enum pending_state state = pending->state;

    pending->state = PENDING_NOTHING;
    if (state == PENDING_KEEP)
        return finish_keep(engine, number, pending, event);
    if (state == PENDING_TAKE)
        end_take(engine, number, pending, event->kind == PYSC_KIND_UNDONE);
    if (event->kind != PYSC_KIND_UNDONE)
        return 0;
    if (state == PENDING_READ)
        undo_read(engine, pending, event);
    event->kind = state == PENDING_REPLY ? PYSC_UNDONE : PYSC_KIND_SYSCALL;
    return SETTLED_FOR_PYTHON;
}

void
forget_revoked(struct pysc_engine *engine, uint32_t number)
{
    struct thread *thread = &engine->threads[number];
    struct space *space = space_of(engine, number);

    if (!engine->objects || space->revoked == engine->objects->revoked || thread->n_commands + PYSC_KEPT >= PYSC_COMMANDS)
        return;
    space->revoked = engine->objects->revoked;
    for (uint32_t i = 0; i < PYSC_KEPT; i++) {
        struct kept *kept = &space->kept[i];
        const struct pysc_data *data = &engine->objects->data[kept->data];

        if (kept->serial && (!is_living(&data->header, kept->generation) || data->opened != kept->opened)) {
            kept->serial = 0;
            pysc_command(engine, number, PYSC_CMD_FORGET, 0, i, 0, 0, 0, 0, 0, 0);
        }
    }
}

int64_t
pysc_donation_begin(struct pysc_engine *engine, uint32_t number)
{
    struct space *space = space_at(engine, number);

    if (!space)
        return -ESRCH;
    space->awaited = (uint32_t)is_busy(engine, space);
    space->sending = 1;
    return !space->awaited;
}

int64_t
pysc_donation_end(struct pysc_engine *engine, uint32_t number)
{
    struct space *space = space_at(engine, number);

    if (!space)
        return -ESRCH;
    space->sending = 0;
    return 0;
}
