/* Fast paths of poll(2) and select(2): sets of which all descriptors are kinds known here, and of which one is ready, or
 * that shall not be waited for.  Temporary signal masks, waiting, and errors are Python's.  What is left of a timeout is
 * all of it: no time has passed. */

#define _GNU_SOURCE
#include "fast.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#define SELECT_MAX 1024 /* bits; so many travel with a request */
#define SELECT_WORDS (SELECT_MAX / 64)
#define SELECT_IN (POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR)
#define SELECT_OUT (POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR)
#define SELECT_EX POLLPRI
#define RESULTS 8192 /* where they are put together: above all hints of a select */

static int32_t
poll_pipe(const struct call *call, const struct pysc_file *file)
{
    const struct pysc_pipe *pipe = pipe_of(call, file);
    int32_t events = 0;

    if (!pipe)
        return -1;
    if (is_readable(file)) {
        events |= pipe->size ? EVENTS_IN : 0;
        if (!pipe->writers && file->flushes) /* a FIFO: nobody has hung up who was never there */
            return -1;
        events |= pipe->writers ? 0 : EVENTS_HUP;
    }
    if (is_writable(file)) {
        events |= pipe->size + PIPE_BUF_SIZE <= pipe->capacity ? EVENTS_OUT : 0;
        events |= pipe->readers ? 0 : EVENTS_ERR;
    }
    return events;
}

int32_t
poll_file(const struct call *call, const struct pysc_file *file)
{
    const struct pysc_counter *counter;

    if (file->flags & O_PATH_)
        return -1;
    switch (file->type) {
    case PYSC_FILE_REGULAR:
    case PYSC_FILE_NULL:
    case PYSC_FILE_ZERO:
        return EVENTS_IN | EVENTS_OUT;
    case PYSC_FILE_PIPE:
        return poll_pipe(call, file);
    case PYSC_FILE_COUNTER:
        counter = counter_of(call, file);
        if (!counter)
            return -1;
        return (counter->count ? POLLIN : 0) | (counter->count < UINT64_MAX - 1 ? POLLOUT : 0) |
               (counter->count == UINT64_MAX ? POLLERR : 0);
    default:
        return -1;
    }
}

/* A timeout: 1 it is zero, 0 it is not, or there is none; -1: it is not here, or not valid. */
static int
is_zero(const struct call *call, uint64_t address, int64_t units)
{
    const uint8_t *bytes;
    int64_t time[2];

    if (!address)
        return 0;
    bytes = hint_at(call, address, sizeof time);
    if (!bytes)
        return -1;
    memcpy(time, bytes, sizeof time);
    if (time[0] < 0 || time[1] < 0 || time[1] >= units)
        return -1;
    return time[0] == 0 && time[1] == 0;
}

/* Write all revents where the request's structures stand; how many are not zero, or -1. */
static int64_t
look(const struct call *call, uint8_t *at, uint32_t n)
{
    int64_t ready = 0;

    for (uint32_t i = 0; i < n; i++, at += sizeof(struct pollfd)) {
        const struct pysc_file *file;
        struct pollfd asked;
        int32_t events = 0;

        memcpy(&asked, at, sizeof asked);
        if (asked.fd >= 0) {
            file = file_at_fd(call, (uint64_t)asked.fd);
            events = file ? poll_file(call, file) : POLLNVAL;
            if (events < 0)
                return -1;
            events &= asked.events | POLLERR | POLLHUP | POLLNVAL;
        }
        asked.revents = (int16_t)events;
        memcpy(at + offsetof(struct pollfd, revents), &asked.revents, sizeof asked.revents);
        ready += events != 0;
    }
    return ready;
}

static int
poll_set(struct call *call, uint64_t address, uint32_t n, int at_once)
{
    uint64_t size = (uint64_t)n * sizeof(struct pollfd);
    uint8_t *structures = call->thread->slot->data;
    int64_t ready;

    if (at_once < 0 || n == 0 || n > call->table->limit || !address_ok(address, size) ||
        hint_at(call, address, size) != structures)
        return HAND_OVER;
    ready = look(call, structures, n);
    if (ready < 0 || (ready == 0 && !at_once))
        return HAND_OVER;
    return answer_with_data(call, address, size, ready);
}

static int
fast_poll(struct call *call)
{
    const uint64_t *a = call->event->args;

    return poll_set(call, a[0], (uint32_t)a[1], (int32_t)a[2] == 0);
}

static int
fast_ppoll(struct call *call)
{
    const uint64_t *a = call->event->args;

    if (a[3])
        return HAND_OVER;
    return poll_set(call, a[0], (uint32_t)a[1], is_zero(call, a[2], 1000000000));
}

struct sets {
    uint32_t words;
    uint64_t asked[3][SELECT_WORDS], found[3][SELECT_WORDS];
};

/* Linux looks at no more numbers than its table holds, which has 64 places at least. */
static uint32_t
words_of(const struct pysc_table *table, uint32_t bits)
{
    uint32_t words = (bits + 63) / 64, held = table->capacity / 64;

    while (held > 1 && !table->used[held - 1])
        held--;
    return words < held ? words : held ? held : 1;
}

static int
take_sets(const struct call *call, struct sets *sets, uint32_t bits)
{
    memset(sets, 0, sizeof *sets);
    sets->words = words_of(call->table, bits);
    for (uint32_t i = 0; i < 3; i++) {
        uint64_t address = call->event->args[1 + i];
        const uint8_t *bytes;

        if (!address)
            continue;
        bytes = address_ok(address, sets->words * 8) ? hint_at(call, address, sets->words * 8) : NULL;
        if (!bytes)
            return 0;
        memcpy(sets->asked[i], bytes, sets->words * 8);
    }
    if (bits / 64 < sets->words && bits % 64) { /* the bits behind the last that counts */
        for (uint32_t i = 0; i < 3; i++)
            sets->asked[i][bits / 64] &= (1ULL << bits % 64) - 1;
    }
    return 1;
}

/* How many bits are found, or -1. */
static int64_t
look_at_word(const struct call *call, struct sets *sets, uint32_t word)
{
    static const int32_t events[3] = {SELECT_IN, SELECT_OUT, SELECT_EX};
    uint64_t any = sets->asked[0][word] | sets->asked[1][word] | sets->asked[2][word];
    int64_t count = 0;

    for (; any; any &= any - 1) {
        uint64_t bit = any & -any;
        const struct pysc_file *file = file_at_fd(call, word * 64 + (uint64_t)__builtin_ctzll(any));
        int32_t ready = file ? poll_file(call, file) : -1;

        if (ready < 0)
            return -1;
        for (uint32_t i = 0; i < 3; i++) {
            if (sets->asked[i][word] & bit && ready & events[i]) {
                sets->found[i][word] |= bit;
                count++;
            }
        }
    }
    return count;
}

static int
answer_sets(struct call *call, const struct sets *sets, int64_t count)
{
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t at = RESULTS + i * SELECT_MAX / 8;

        if (!call->event->args[1 + i])
            continue;
        memcpy(call->thread->slot->data + at, sets->found[i], sets->words * 8);
        pysc_command(call->engine, call->number, PYSC_CMD_PUT, 0, call->event->args[1 + i], sets->words * 8, at, 0, 0, 0, 0);
    }
    return answer(call, count);
}

static int
select_sets(struct call *call, int64_t units)
{
    int32_t bits = (int32_t)call->event->args[0];
    int64_t count = 0, here;
    struct sets sets;
    int at_once = is_zero(call, call->event->args[4], units);

    if (bits <= 0 || bits > SELECT_MAX || at_once < 0 || !take_sets(call, &sets, (uint32_t)bits))
        return HAND_OVER;
    for (uint32_t word = 0; word < sets.words; word++) {
        here = look_at_word(call, &sets, word);
        if (here < 0)
            return HAND_OVER;
        count += here;
    }
    return count || at_once ? answer_sets(call, &sets, count) : HAND_OVER;
}

static int
fast_select(struct call *call)
{
    return select_sets(call, 1000000);
}

/* The sixth argument points to the address of a mask, if there is one, and its size. */
static int
has_mask(const struct call *call, uint64_t address)
{
    const uint8_t *bytes = address ? hint_at(call, address, 16) : NULL;
    uint64_t mask;

    if (!bytes)
        return address != 0;
    memcpy(&mask, bytes, sizeof mask);
    return mask != 0;
}

static int
fast_pselect6(struct call *call)
{
    if (has_mask(call, call->event->args[5]))
        return HAND_OVER;
    return select_sets(call, 1000000000);
}

void
serve_poll(void)
{
    pysc_fast_paths[SYS_poll] = fast_poll;
    pysc_fast_paths[SYS_ppoll] = fast_ppoll;
    pysc_fast_paths[SYS_select] = fast_select;
    pysc_fast_paths[SYS_pselect6] = fast_pselect6;
}
