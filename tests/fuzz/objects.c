/* The objects that fast paths share with Python, against models. */

#include "check.h"
#include <errno.h>
#include <string.h>
#include "invariants.h"
#include "object.h"

#define FDS 300

/* A ring beside a plain array: bytes come out as they went in, again if they come back. */
static void
pipes(struct pysc_objects *objects)
{
    int64_t index = pysc_object_new(objects, PYSC_OBJECT_PIPE);
    struct pysc_pipe *pipe = pysc_pipe_at(objects, (uint32_t)index);
    static uint8_t model[1 << 20], bytes[70000];
    uint64_t size = 0, owed = 0;
    uint8_t *taken = NULL; /* and owed to 7 */

    for (int round = 0; round < 8000; round++) {
        uint64_t n = next() % (next() % 8 ? 3000 : sizeof bytes);

        if (next() % 2 && size + n <= sizeof model) {
            for (uint64_t i = 0; i < n; i++)
                bytes[i] = (uint8_t)next();
            CHECK(pysc_pipe_put(objects, pipe, bytes, n) == 0);
            memcpy(model + size, bytes, n);
            size += n;
        } else {
            uint64_t wanted = n < size ? n : size;
            uint8_t *out = malloc(n ? n : 1);

            CHECK((uint64_t)pysc_pipe_peek(pipe, out, n) == wanted && memcmp(out, model, wanted) == 0);
            if (next() % 4)
                CHECK((uint64_t)pysc_pipe_take(pipe, out, n) == wanted && memcmp(out, model, wanted) == 0);
            else
                CHECK((uint64_t)pysc_pipe_drop(pipe, n) == wanted);
            memmove(model, model + wanted, size - wanted);
            size -= wanted;
            free(taken);
            taken = out;
            owed = wanted;
            pysc_pipe_owe(pipe, 7, owed);
        }
        if (taken && next() % 3 == 0) {
            int undone = next() % 2 && size + owed <= sizeof model;

            pysc_pipe_settle(pipe, 6, 1); /* of somebody else */
            pysc_pipe_settle(pipe, 7, undone);
            if (undone) {
                memmove(model + owed, model, size);
                memcpy(model, taken, owed);
                size += owed;
            }
            free(taken);
            taken = NULL;
        }
        CHECK(pipe->size == size && pipe->allocated >= size);
    }
    free(taken);
    pysc_object_free(objects, PYSC_OBJECT_PIPE, (uint32_t)index);
    CHECK(!pysc_pipe_at(objects, (uint32_t)index));
}

struct row {
    int64_t file; /* -1: free */
    int cloexec;
};

static int64_t
lowest_free(const struct row *rows, uint32_t from)
{
    uint32_t fd = from;

    while (fd < FDS && rows[fd].file >= 0)
        fd++;
    return fd;
}

static void
compare(const struct pysc_table *table, const struct row *rows)
{
    int64_t fd = -1, close = -1;
    uint32_t count = 0;

    for (int64_t i = -3; i < FDS + 70; i++) {
        int64_t file = i >= 0 && i < FDS ? rows[i].file : -1;

        CHECK(pysc_table_get(table, i) == (file < 0 ? -EBADF : file));
        CHECK(pysc_table_cloexec(table, i) == (file < 0 ? -EBADF : rows[i].cloexec));
        if (file < 0)
            continue;
        count++;
        fd = pysc_table_next(table, (uint32_t)(fd + 1), 0);
        CHECK(fd == i);
        if (rows[i].cloexec) {
            close = pysc_table_next(table, (uint32_t)(close + 1), 1);
            CHECK(close == i);
        }
    }
    CHECK(pysc_table_next(table, (uint32_t)(fd + 1), 0) == -1);
    CHECK(table->count == count);
}

/* A table beside an array of rows. */
static void
tables(struct pysc_objects *objects)
{
    static struct row rows[FDS];
    int64_t index = pysc_object_new(objects, PYSC_OBJECT_TABLE);
    struct pysc_table *table = pysc_table_at(objects, (uint32_t)index);
    uint32_t files[8];

    for (int i = 0; i < 8; i++)
        files[i] = (uint32_t)pysc_object_new(objects, PYSC_OBJECT_FILE);
    for (int i = 0; i < FDS; i++)
        rows[i] = (struct row){-1, 0};
    for (int round = 0; round < 12000; round++) {
        uint32_t fd = (uint32_t)(next() % (next() % 8 ? 40 : FDS)), file = files[next() % 8];
        int cloexec = (int)(next() & 1);

        switch (next() % 6) {
        case 0:
        case 1: {
            uint32_t limit = (uint32_t)(next() % FDS);
            int64_t wanted = lowest_free(rows, fd);

            if (wanted >= limit)
                wanted = -EMFILE;
            else
                rows[wanted] = (struct row){file, cloexec};
            CHECK(pysc_table_install(table, file, fd, limit, cloexec) == wanted);
            break;
        }
        case 2:
            CHECK(pysc_table_remove(objects, table, fd) == (rows[fd].file < 0 ? -EBADF : rows[fd].file));
            rows[fd] = (struct row){-1, 0};
            break;
        case 3:
            if (pysc_table_put(table, fd, file, cloexec) >= 0) {
                CHECK(rows[fd].file < 0);
                rows[fd] = (struct row){file, cloexec};
            } else {
                CHECK(rows[fd].file >= 0);
            }
            break;
        case 4:
            if (pysc_table_set_cloexec(table, fd, cloexec) == 0)
                rows[fd].cloexec = cloexec;
            break;
        default: {
            uint32_t before = objects->files[file].references, held = 0;
            int64_t copy = pysc_table_copy(objects, table);

            for (int i = 0; i < FDS; i++)
                held += rows[i].file == (int64_t)file;
            compare(pysc_table_at(objects, (uint32_t)copy), rows);
            CHECK(objects->files[file].references == before + held);
            pysc_object_free(objects, PYSC_OBJECT_TABLE, (uint32_t)index);
            index = copy;
            table = pysc_table_at(objects, (uint32_t)index);
        }
        }
        if (round % 16 == 0)
            compare(table, rows);
    }
    CHECK(pysc_table_put(table, FD_MAX, files[0], 0) == -EINVAL);
    CHECK(pysc_table_install(table, files[0], FD_MAX - 1, FD_MAX, 0) == FD_MAX - 1);
    CHECK(pysc_table_install(table, files[0], FD_MAX - 1, UINT32_MAX, 0) == -EMFILE);
}

/* Indices come again, with another generation and nothing left of what was there. */
static void
pools(struct pysc_objects *objects)
{
    uint32_t before = pysc_object_count(objects, PYSC_OBJECT_COUNTER);
    int64_t first = pysc_object_new(objects, PYSC_OBJECT_COUNTER);
    uint32_t generation = pysc_counter_at(objects, (uint32_t)first)->header.generation;

    pysc_counter_at(objects, (uint32_t)first)->count = 7;
    pysc_object_free(objects, PYSC_OBJECT_COUNTER, (uint32_t)first);
    pysc_object_free(objects, PYSC_OBJECT_COUNTER, (uint32_t)first);
    CHECK(!is_living(&objects->counters[first].header, generation));
    CHECK(pysc_object_new(objects, PYSC_OBJECT_COUNTER) == first);
    CHECK(pysc_object_new(objects, PYSC_OBJECT_COUNTER) != first);
    CHECK(pysc_counter_at(objects, (uint32_t)first)->count == 0);
    CHECK(!is_living(&objects->counters[first].header, generation));
    CHECK(pysc_object_count(objects, PYSC_OBJECT_COUNTER) == before + 2);
    CHECK(pysc_object_new(objects, PYSC_OBJECT_KINDS) == -EINVAL);
    CHECK(!pysc_pipe_at(objects, UINT32_MAX));
    for (uint32_t i = pysc_object_count(objects, PYSC_OBJECT_BUDGET); i < MAX_BUDGETS; i++)
        CHECK(pysc_object_new(objects, PYSC_OBJECT_BUDGET) >= 0);
    CHECK(pysc_object_new(objects, PYSC_OBJECT_BUDGET) == -ENFILE);
}

static void
budgets(struct pysc_objects *objects)
{
    int64_t above = pysc_object_new(objects, PYSC_OBJECT_BUDGET), below = pysc_object_new(objects, PYSC_OBJECT_BUDGET);
    struct pysc_budget *top = pysc_budget_at(objects, (uint32_t)above), *low = pysc_budget_at(objects, (uint32_t)below);

    top->limit = 10;
    low->limit = 100;
    low->parent = (uint32_t)above + 1;
    pysc_budget_note(objects, low, 7);
    CHECK(top->used == 7 && low->used == 7 && pysc_budget_free(objects, low) == 3);
    pysc_budget_note(objects, top, 5);
    CHECK(pysc_budget_free(objects, low) == 0);
    top->parent = (uint32_t)below + 1; /* a circle ends, too */
    pysc_budget_note(objects, low, 1);
    pysc_budget_free(objects, low);
    pysc_object_free(objects, PYSC_OBJECT_BUDGET, (uint32_t)below);
    pysc_object_free(objects, PYSC_OBJECT_BUDGET, (uint32_t)above);
}

static void
contents(struct pysc_objects *objects)
{
    struct pysc_data *data = pysc_data_at(objects, (uint32_t)pysc_object_new(objects, PYSC_OBJECT_DATA));

    for (uint64_t size = 1; size < 70000; size += 1 + next() % 900) {
        CHECK(pysc_data_grow(data, size) == 0 && data->small_size >= size);
        for (uint64_t i = data->length; i < data->small_size; i++)
            CHECK(data->small[i] == 0);
        memset(data->small, 0xff, size);
        data->length = size;
    }
    CHECK(pysc_data_grow(data, 1ULL << 33) == -EINVAL);
    pysc_data_shrink(data);
    CHECK(!data->small && !data->small_size);
}

#define OWNERS 3
#define BYTES 24

/* What each owner has of each byte: 0 nothing, 1 shared, 2 exclusive. */
static int
may_have(uint8_t model[OWNERS][BYTES + 1], const struct pysc_lock *lock)
{
    for (uint64_t byte = lock->start; byte <= lock->end && byte <= BYTES; byte++) {
        for (uint64_t owner = 0; owner < OWNERS; owner++) {
            if (owner != lock->owner && model[owner][byte] && model[owner][byte] + lock->exclusive > 1)
                return 0;
        }
    }
    return 1;
}

static void
compare_locks(const struct pysc_locks *locks, uint8_t model[OWNERS][BYTES + 1])
{
    uint8_t found[OWNERS][BYTES + 1] = {0};

    for (uint32_t i = 0; i < locks->n; i++) {
        const struct pysc_lock *lock = &locks->records[i];

        for (uint64_t byte = lock->start; byte <= lock->end && byte <= BYTES; byte++) {
            CHECK(!found[lock->owner][byte]);
            found[lock->owner][byte] = (uint8_t)(1 + lock->exclusive);
        }
    }
    CHECK(memcmp(found, model, sizeof found) == 0);
}

/* Locks of three owners beside what each has of each byte; the last byte stands for all behind it. */
static void
locks(struct pysc_objects *objects)
{
    static uint8_t model[OWNERS][BYTES + 1];
    static struct pysc_lock many[PYSC_LOCKS_MAX];
    int64_t index = pysc_object_new(objects, PYSC_OBJECT_LOCKS);
    struct pysc_locks *locks = pysc_locks_at(objects, (uint32_t)index);

    for (int round = 0; round < 20000; round++) {
        uint64_t start = next() % BYTES, kind = next() % 4; /* 3: give up */
        struct pysc_lock lock = {.owner = next() % OWNERS, .start = start, .exclusive = kind == 2};

        lock.end = next() % 4 ? start + next() % (BYTES - start) : PYSC_LOCK_END;
        CHECK((pysc_locks_conflict(locks, &lock) < 0) == may_have(model, &lock));
        if (next() % 64 == 0) {
            pysc_locks_release(locks, lock.owner);
            memset(model[lock.owner], 0, sizeof model[0]);
        } else if (kind == 3 || may_have(model, &lock)) {
            CHECK(pysc_locks_change(locks, &lock, kind != 3) == 0);
            for (uint64_t byte = lock.start; byte <= lock.end && byte <= BYTES; byte++)
                model[lock.owner][byte] = kind == 3 ? 0 : (uint8_t)(1 + lock.exclusive);
        }
        compare_locks(locks, model);
        if (round % 4096 == 0)
            check_invariants(objects);
    }
    for (uint32_t i = 0; i < PYSC_LOCKS_MAX; i++)
        many[i] = (struct pysc_lock){.owner = 9, .start = 2 * i + 1000, .end = 2 * i + 1000};
    CHECK(pysc_locks_set(locks, many, PYSC_LOCKS_MAX) == 0);
    CHECK(pysc_locks_change(locks, &(struct pysc_lock){.owner = 9, .start = 0, .end = 0}, 1) == -ENOLCK);
    CHECK(pysc_locks_change(locks, &(struct pysc_lock){.owner = 9, .start = 0, .end = PYSC_LOCK_END}, 0) == 0);
    pysc_object_free(objects, PYSC_OBJECT_LOCKS, (uint32_t)index);
}

int
main(void)
{
    struct pysc_objects *objects = pysc_objects_new();

    pipes(objects);
    check_invariants(objects);
    tables(objects);
    check_invariants(objects);
    budgets(objects);
    contents(objects);
    check_invariants(objects);
    locks(objects);
    pools(objects);
    check_invariants(objects);
    pysc_objects_free(objects);
    puts("done");
    return 0;
}
