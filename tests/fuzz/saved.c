/* Objects saved and loaded: what comes back is what was there, and whatever is accepted of records that somebody has changed
 * serves calls as any does. */

#include "check.h"
#include "caller.h"
#include "invariants.h"
#include "saved.h"

#define SETS 60      /* that go on where another was saved */
#define CHANGED 2500 /* that were changed */
#define CALLS 60
#define RECORDS_MAX 4096
#define MOUNT 7

struct record {
    uint8_t *bytes;
    uint64_t size;
};
struct records {
    uint32_t n;
    struct record each[RECORDS_MAX];
};

static int tree;

#define EACH(objects, kind, i) \
    int64_t i = pysc_object_next(objects, kind, 0); i >= 0; i = pysc_object_next(objects, kind, (uint32_t)i + 1)

static void
add_record(struct records *records, const void *bytes, uint64_t size)
{
    struct record *record = &records->each[records->n++];

    CHECK(records->n < RECORDS_MAX);
    record->size = size;
    record->bytes = malloc(size); /* exactly: reading behind it is seen */
    memcpy(record->bytes, bytes, size);
}

static void
free_records(struct records *records)
{
    while (records->n)
        free(records->each[--records->n].bytes);
}

static void
save(struct records *records)
{
    static uint8_t record[1 << 20];

    for (uint32_t kind = 0; kind < PYSC_OBJECT_KINDS; kind++) {
        int64_t i = pysc_saved_next(objects, kind, 0), size;

        for (; i >= 0; i = pysc_saved_next(objects, kind, (uint32_t)i + 1)) {
            size = pysc_object_dump(objects, kind, (uint32_t)i, NULL, 0);
            CHECK(size > 0 && size <= (int64_t)sizeof record);
            CHECK(pysc_object_dump(objects, kind, (uint32_t)i, record, (uint64_t)size) == size);
            add_record(records, record, (uint64_t)size);
        }
    }
}

/* Into new objects.  0 if they were accepted; sometimes nobody asks. */
static int64_t
load(const struct records *records, int asks)
{
    struct pysc_refusal refusal = {0};
    int64_t result = 0;

    objects = pysc_objects_new();
    for (uint32_t i = 0; i < records->n && !result; i++) {
        result = pysc_object_load(objects, records->each[i].bytes, records->each[i].size);
        if (!result && next() % 8 == 0) /* in its own place */
            result = pysc_object_load(objects, records->each[i].bytes, records->each[i].size);
    }
    if (!result && !asks && next() % 16 == 0) { /* given up before it is known what it is */
        pysc_objects_free(objects);
        objects = pysc_objects_new();
        return -EBADMSG;
    }
    if (!result)
        result = pysc_objects_check(objects, &refusal);
    for (uint32_t kind = 0; result && kind < PYSC_OBJECT_KINDS; kind++)
        CHECK(pysc_object_next(objects, kind, 0) < 0);
    CHECK(!result || result == -EBADMSG);
    if (refusal.expected)
        looking_at = refusal.expected;
    return result;
}

static void
check_same(const struct records *records)
{
    static struct records again;

    save(&again);
    CHECK(again.n == records->n);
    for (uint32_t i = 0; i < again.n; i++) {
        CHECK(again.each[i].size == records->each[i].size);
        CHECK(memcmp(again.each[i].bytes, records->each[i].bytes, again.each[i].size) == 0);
    }
    free_records(&again);
}

/* Descriptions beside those of caller.h, and all that names are made of. */
static void
make_world(void)
{
    struct pysc_table *table = pysc_table_at(objects, (uint32_t)pysc_object_new(objects, PYSC_OBJECT_TABLE));
    uint32_t super = (uint32_t)pysc_object_new(objects, PYSC_OBJECT_SUPER);
    uint32_t cache, shown, inode = (uint32_t)pysc_object_new(objects, PYSC_OBJECT_INODE);
    struct pysc_context *context = pysc_context_at(objects, (uint32_t)pysc_object_new(objects, PYSC_OBJECT_CONTEXT));
    struct pysc_data *other;

    make_files(table);
    objects->files[4].flags |= O_NONBLOCK;
    for (uint32_t fd = 0; fd < 8; fd++)
        objects->files[table->files[fd] - 1].references = 3;
    cache = (uint32_t)pysc_dcache_new(objects, tree, super + 1, 5, 1);
    shown = (uint32_t)pysc_dcache_new(objects, -1, 0, 6, 0);
    objects->inodes[inode].mode = 040755;
    pysc_context_set(objects, context, pysc_dcache_top(objects, cache), MOUNT, pysc_dcache_top(objects, cache), MOUNT);
    pysc_dentry_show(objects, (uint32_t)pysc_dcache_top(objects, shown), inode);
    pysc_dentry_show(objects, (uint32_t)pysc_dentry_enter(objects, objects->dcaches[shown].top, "known", 5), inode);
    pysc_dentry_show_absent(objects, objects->dcaches[shown].top, "absent", 6);
    pysc_dentry_merge(objects, (uint32_t)pysc_dentry_enter(objects, objects->dcaches[cache].top, "a", 1), 040700, 1, 2);
    other = new_data(PYSC_DATA_OTHER);
    other->target = 0;
    other->target_generation = objects->data[0].header.generation;
    objects->data[1].super = super + 1;
    pysc_object_new(objects, PYSC_OBJECT_HANDLERS);
}

static void
report_path_call(void)
{
    static const int64_t calls[] = {SYS_open, SYS_openat, SYS_stat, SYS_newfstatat, SYS_access, SYS_readlink, SYS_getdents64};
    static const char *const paths[] = {"a", "a/b", "/a/b/c", "link", "/link/b", "..", "known", "absent", "/", "nothing"};
    const char *path = PICK(paths);
    int64_t nr = PICK(calls);
    int at = nr == SYS_openat || nr == SYS_newfstatat;

    slot->kind = PYSC_KIND_SYSCALL;
    slot->nr = nr;
    memset(slot->args, 0, sizeof slot->args);
    slot->args[0] = nr == SYS_getdents64 ? next() % 40 : at ? AT_FDCWD_ : MEMORY;
    slot->args[1] = at ? MEMORY : nr == SYS_open ? next() % 2 * O_DIRECTORY : MEMORY + 64;
    slot->args[2] = nr == SYS_getdents64 || nr == SYS_readlink ? 32768 : nr == SYS_newfstatat ? MEMORY + 64 : 0;
    memcpy(slot->data, path, strlen(path) + 1);
    slot->n_hints = 1;
    slot->hints[0] = (struct pysc_hint){MEMORY, (uint32_t)strlen(path) + 1, 0};
}

static void
take_events(const struct pysc_event *events, int64_t n)
{
    (void)events;
    (void)n;
    if (engine->threads[thread].state == STATE_STOPPED)
        CHECK(pysc_reply(engine, thread, -ENOSYS) >= 0);
}

/* Calls of a thread that has what there is. */
static void
serve(int calls)
{
    int64_t table = pysc_object_next(objects, PYSC_OBJECT_TABLE, 0);

    begin_guest();
    pysc_engine_serve(engine, objects);
    if (table >= 0)
        CHECK(pysc_thread_use_table(engine, thread, table) == 0);
    pysc_thread_use_context(engine, thread, pysc_object_next(objects, PYSC_OBJECT_CONTEXT, 0));
    pysc_thread_use_handlers(engine, thread, pysc_object_next(objects, PYSC_OBJECT_HANDLERS, 0));
    for (int i = 0; i < calls; i++) {
        if (engine->threads[thread].state != STATE_BUSY && next() % 2)
            report_path_call();
        else
            report_next();
        make_call(take_events);
    }
    pysc_engine_free(engine);
}

static void
use_names(uint32_t i)
{
    struct pysc_dentry *dentry = &objects->dentries[i];
    char name[NAME_MAX], path[PATH_MAX];
    int64_t below;

    CHECK(pysc_dentry_name(objects, i, name) <= NAME_MAX && pysc_dentry_path(objects, dentry, path) <= 0);
    CHECK(!strstr(path, "..") && path[0] != '/');
    pysc_dentry_use(objects, i);
    below = pysc_dentry_enter(objects, i, "below", 5);
    CHECK(below >= 0 && pysc_dentry_find(objects, i, "below", 5) == &objects->dentries[below]);
    pysc_dentry_show_absent(objects, i, "below too", 9);
    pysc_dentry_ask(objects, (uint32_t)below);
    pysc_dentry_withdraw(objects, (uint32_t)below, PYSC_WITHDRAWN_NAME);
    pysc_dentry_leave(objects, (uint32_t)below);
    if (dentry->shown == SHOWN_INODE)
        pysc_dentry_hide(objects, i);
    else
        pysc_dentry_leave(objects, i);
}

/* What Python does with each. */
static void
use_each(void)
{
    uint8_t bytes[300] = {1};

    for (EACH(objects, PYSC_OBJECT_DCACHE, i)) {
        if (objects->dcaches[i].missing)
            CHECK(pysc_dcache_set_tree(objects, (uint32_t)i, tree) == 0);
    }
    for (EACH(objects, PYSC_OBJECT_DENTRY, i)) {
        if (i < 40)
            use_names((uint32_t)i);
    }
    for (EACH(objects, PYSC_OBJECT_DATA, i)) {
        struct pysc_data *data = &objects->data[i];

        pysc_data_version(objects, data);
        pysc_data_keep(objects, data, objects->data[i].stat);
        pysc_data_end(objects, (uint32_t)i, data->header.generation);
        pysc_data_donate(objects, data, -1);
        if (data->missing && next() % 2)
            CHECK(pysc_data_set_file(data, tree) == 0 && pysc_data_set_file(data, tree) == -EINVAL);
    }
    for (EACH(objects, PYSC_OBJECT_PIPE, i)) {
        CHECK(pysc_pipe_put(objects, &objects->pipes[i], bytes, sizeof bytes) == 0);
        pysc_pipe_rouse(objects, &objects->pipes[i]);
        pysc_pipe_take(&objects->pipes[i], bytes, next() % sizeof bytes);
    }
    for (EACH(objects, PYSC_OBJECT_BUDGET, i)) {
        pysc_budget_note(objects, &objects->budgets[i], 1);
        CHECK(pysc_budget_free(objects, &objects->budgets[i]) >= 0);
    }
    for (EACH(objects, PYSC_OBJECT_LOCKS, i)) {
        struct pysc_lock lock = {.owner = 1 << 8, .start = 3, .end = 30};

        pysc_locks_change(&objects->locks[i], &lock, pysc_locks_conflict(&objects->locks[i], &lock) < 0);
        pysc_locks_release(&objects->locks[i], objects->locks[i].n ? objects->locks[i].records[0].owner : 0);
    }
    for (EACH(objects, PYSC_OBJECT_EPOLL, i)) {
        int64_t first = pysc_epoll_first(&objects->epolls[i]);

        if (first >= 0) {
            pysc_epoll_drop(objects, &objects->epolls[i], &objects->items[first]);
            pysc_epoll_add(objects, &objects->epolls[i], &objects->items[first]);
        }
    }
    for (EACH(objects, PYSC_OBJECT_TABLE, i)) {
        int64_t copy = pysc_table_copy(objects, &objects->tables[i]);

        CHECK(copy >= 0 && pysc_table_lowest(&objects->tables[copy]) == pysc_table_lowest(&objects->tables[i]));
        if (i > 2) /* copies, maybe */
            break;
    }
    for (EACH(objects, PYSC_OBJECT_FILE, i))
        pysc_file_unseen(objects, (int64_t)objects->files[i].dentry - 1, (uint32_t)i);
    for (uint32_t kind = 0; kind < PYSC_OBJECT_KINDS; kind++) {
        if (kind != PYSC_OBJECT_DENTRY && kind != PYSC_OBJECT_DCACHE)
            CHECK(pysc_object_new(objects, kind) >= 0 && pysc_object_new(objects, kind) >= 0);
    }
}

/* What fast paths opened and nobody has seen has a descriptor of its own. */
static void
end_objects(void)
{
    for (EACH(objects, PYSC_OBJECT_FILE, i)) {
        const struct pysc_file *file = &objects->files[i];

        if (file->owns && objects->data[file->object].file > tree)
            close(objects->data[file->object].file);
    }
    pysc_objects_free(objects);
}

static uint64_t
some_value(void)
{
    static const uint64_t odd[] = {0, 1, 2, 3, 63, 64, 4095, 4096, 65536, 1 << 20, (1 << 20) - 1, 0x7fffffff, UINT32_MAX, ~0UL};

    return next() % 4 ? next() % 12 : next() % 4 ? PICK(odd) : next();
}

/* Change one record; the header says how long it is, mostly. */
static void
change(struct records *records)
{
    struct record *record = &records->each[next() % records->n];
    uint64_t size = record->size, at = next() % size & ~3UL, value = some_value();
    struct pysc_saved saved;

    if (size < sizeof saved) /* that one was cut off before */
        return;
    switch (next() % 12) {
    case 0: /* another length */
        size = next() % 2 ? 1 + next() % size : size + next() % 64;
        record->bytes = realloc(record->bytes, size);
        for (uint64_t i = record->size; i < size; i++)
            record->bytes[i] = (uint8_t)some_value();
        record->size = size;
        if (size < sizeof saved || next() % 8 == 0)
            return;
        memcpy(record->bytes + offsetof(struct pysc_saved, size), &size, sizeof size);
        return;
    case 1: /* the same again, of another name */
        add_record(records, record->bytes, size);
        record = &records->each[records->n - 1];
        memcpy(record->bytes + offsetof(struct pysc_saved, index), &value, 4);
        return;
    case 2: /* nothing of it */
        free(record->bytes);
        *record = records->each[--records->n];
        return;
    case 3:
        record->bytes[next() % size] ^= (uint8_t)(1 << next() % 8);
        return;
    default: /* a field */
        if (size > sizeof saved && next() % 4)
            at = sizeof saved + next() % (size - sizeof saved < 64 ? size - sizeof saved : 64);
        memcpy(record->bytes + at, &value, size - at < 4 ? size - at : next() % 4 ? 4 : 1);
    }
}

int
main(int argc, char **argv)
{
    static struct records records, changed;
    uint32_t accepted = 0;

    if (argc != 2 || chdir(argv[1]) || (tree = open(".", O_PATH | O_DIRECTORY)) < 0)
        return 77;
    objects = pysc_objects_new();
    make_world();
    for (int set = 0; set < SETS; set++) {
        int64_t host;

        serve(4 * CALLS);
        check_invariants(objects);
        free_records(&records);
        save(&records);
        end_objects();
        CHECK(load(&records, 1) == 0);
        check_invariants(objects);
        check_same(&records);
        for (EACH(objects, PYSC_OBJECT_DCACHE, i))
            CHECK(!objects->dcaches[i].missing || pysc_dcache_set_tree(objects, (uint32_t)i, tree) == 0);
        host = objects->data[1].missing ? memfd_create("host", 0) : -1;
        CHECK(host < 0 || (ftruncate((int)host, 200000) == 0 && pysc_data_set_file(&objects->data[1], (int32_t)host) == 0));
        check_same(&records);
    }
    end_objects();
    for (int set = 0; set < CHANGED; set++) {
        for (uint32_t i = 0; i < records.n; i++)
            add_record(&changed, records.each[i].bytes, records.each[i].size);
        for (uint64_t n = 1 + next() % 3; n; n--)
            change(&changed);
        if (load(&changed, 0) == 0) {
            accepted++;
            check_invariants(objects);
            if (next() % 2)
                use_each();
            serve(CALLS);
            check_invariants(objects);
        }
        end_objects();
        free_records(&changed);
    }
    free_records(&records);
    CHECK(accepted > CHANGED / 8 && accepted < CHANGED - CHANGED / 8);
    fprintf(stderr, "accepted %u\n", accepted);
    close(tree);
    puts("done");
    return 0;
}
