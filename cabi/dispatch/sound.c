/* Whether objects that were loaded can be what they say, all together: no other code looks twice at what one of them says
 * of another.  Each has its fields in their ranges already (saved.c).
 *
 * First what each names is looked for, and counted there; then each is judged by what was counted.  All of it takes time
 * in proportion to what was loaded, but for locks, which are sorted. */

#define _GNU_SOURCE
#include "fast.h"
#include "saved.h"

#include <errno.h>
#include <stdlib.h>

/* What was found of an object. */
struct tally {
    uint64_t count; /* open numbers of a description, uses of a dentry, names of contents, readers, pages, places on a list */
    uint64_t other; /* writers; the top was reached from here */
};

struct check {
    struct pysc_objects *objects;
    struct pysc_refusal *refusal;
    struct tally *of[PYSC_OBJECT_KINDS];
};

typedef int (*step)(struct check *check, struct pysc_header *object);

static int
refuse(struct check *check, uint32_t kind, const void *object, const char *expected)
{
    *check->refusal = (struct pysc_refusal){kind, ((const struct pysc_header *)object)->index, expected};
    return -EBADMSG;
}

#define EXPECT(KIND, object, condition)                                             \
    do {                                                                            \
        if (!(condition))                                                           \
            return refuse(check, PYSC_OBJECT_##KIND, object, #condition);           \
    } while (0)

static struct tally *
tally_of(struct check *check, uint32_t kind, uint32_t index)
{
    return &check->of[kind][index];
}

/* Counting.  What is named lives. */
static int
count_table(struct check *check, struct pysc_header *object)
{
    const struct pysc_table *table = (struct pysc_table *)object;

    for (int64_t fd = pysc_table_next(table, 0, 0); fd >= 0; fd = pysc_table_next(table, (uint32_t)fd + 1, 0)) {
        uint32_t file = table->files[fd] - 1;

        EXPECT(TABLE, table, pysc_file_at(check->objects, file));
        tally_of(check, PYSC_OBJECT_FILE, file)->count++;
    }
    return 0;
}

static int
count_file(struct check *check, struct pysc_header *object)
{
    const struct pysc_file *file = (struct pysc_file *)object;

    if (file->dentry)
        tally_of(check, PYSC_OBJECT_DENTRY, file->dentry - 1)->count++;
    if (file->generation && (file->type == PYSC_FILE_REGULAR || file->type == PYSC_FILE_DIRECTORY))
        tally_of(check, PYSC_OBJECT_DATA, file->object)->count++;
    if (file->generation && file->type == PYSC_FILE_PIPE && file->references) { /* else it may be closed */
        tally_of(check, PYSC_OBJECT_PIPE, file->object)->count += (uint64_t)is_readable(file);
        tally_of(check, PYSC_OBJECT_PIPE, file->object)->other += (uint64_t)is_writable(file);
    }
    return 0;
}

static int
count_data(struct check *check, struct pysc_header *object)
{
    const struct pysc_data *data = (struct pysc_data *)object;
    const struct pysc_budget *budget = data->budget_generation ? &check->objects->budgets[data->budget] : NULL;

    if (data->target_generation)
        tally_of(check, PYSC_OBJECT_DATA, data->target)->count++;
    for (int i = 0; budget && i < MAX_BUDGET_DEPTH; i++, budget = pysc_budget_above(check->objects, budget))
        tally_of(check, PYSC_OBJECT_BUDGET, budget->header.index)->count += data->charged;
    return 0;
}

static int
count_context(struct check *check, struct pysc_header *object)
{
    const struct pysc_context *context = (struct pysc_context *)object;

    if (context->root)
        tally_of(check, PYSC_OBJECT_DENTRY, context->root - 1)->count++;
    if (context->working)
        tally_of(check, PYSC_OBJECT_DENTRY, context->working - 1)->count++;
    return 0;
}

static int
count_inode(struct check *check, struct pysc_header *object)
{
    const struct pysc_inode *inode = (struct pysc_inode *)object;

    if (inode->data)
        tally_of(check, PYSC_OBJECT_DATA, inode->data - 1)->count++;
    return 0;
}

/* It is found by its name from now on. */
static int
count_dentry(struct check *check, struct pysc_header *object)
{
    struct pysc_dentry *dentry = (struct pysc_dentry *)object;
    int is_top = pysc_is_top(check->objects, dentry);

    EXPECT(DENTRY, dentry, is_top == (dentry->parent == object->index));
    EXPECT(DENTRY, dentry, is_top || pysc_dentry_link(check->objects, dentry) == 0);
    return 0;
}

/* Judging. */
static int
judge_file(struct check *check, struct pysc_header *object)
{
    const struct pysc_file *file = (struct pysc_file *)object;

    EXPECT(FILE, file, file->references >= tally_of(check, PYSC_OBJECT_FILE, object->index)->count);
    if (!file->faced) {
        EXPECT(FILE, file, file->references && file->dentry);
        EXPECT(FILE, file, file->type == PYSC_FILE_REGULAR || file->type == PYSC_FILE_DIRECTORY);
        EXPECT(FILE, file, file->type == PYSC_FILE_REGULAR || file->offset <= UINT32_MAX); /* it counts entries */
    }
    if (file->owns) {
        EXPECT(FILE, file, !file->faced && file->generation);
        EXPECT(FILE, file, tally_of(check, PYSC_OBJECT_DATA, file->object)->count == 1);
    }
    return 0;
}

static int
judge_data(struct check *check, struct pysc_header *object)
{
    const struct pysc_data *data = (struct pysc_data *)object, *end = data;

    EXPECT(DATA, data, data->where != PYSC_DATA_HOST); /* its descriptor is missing */
    EXPECT(DATA, data, !data->missing || data->where == PYSC_DATA_NONE);
    EXPECT(DATA, data, (data->where == PYSC_DATA_OTHER) == (data->target_generation != 0));
    EXPECT(DATA, data, !(data->stored & ~(data->small_size ? pysc_data_pages(0, data->length) : 0)));
    for (int i = 0; end->where == PYSC_DATA_OTHER; i++, end = &check->objects->data[end->target])
        EXPECT(DATA, data, i < MAX_REDIRECTIONS);
    return 0;
}

static int
judge_pipe(struct check *check, struct pysc_header *object)
{
    const struct pysc_pipe *pipe = (struct pysc_pipe *)object;
    const struct tally *ends = tally_of(check, PYSC_OBJECT_PIPE, object->index);

    EXPECT(PIPE, pipe, pipe->capacity >= PIPE_BUF_SIZE && !(pipe->capacity & (pipe->capacity - 1)));
    EXPECT(PIPE, pipe, pipe->readers >= ends->count && pipe->writers >= ends->other);
    return 0;
}

static int
judge_budget(struct check *check, struct pysc_header *object)
{
    const struct pysc_budget *budget = (struct pysc_budget *)object, *up = budget;

    EXPECT(BUDGET, budget, (uint64_t)budget->used >= tally_of(check, PYSC_OBJECT_BUDGET, object->index)->count);
    for (int i = 0; up; i++, up = pysc_budget_above(check->objects, up))
        EXPECT(BUDGET, budget, i < MAX_BUDGET_DEPTH);
    return 0;
}

static int
judge_dcache(struct check *check, struct pysc_header *object)
{
    const struct pysc_dcache *cache = (struct pysc_dcache *)object;
    const struct pysc_dentry *top = &check->objects->dentries[cache->top];

    EXPECT(DCACHE, cache, top->cache == object->index);
    return 0;
}

/* Up from it lies the top of its cache. */
static int
judge_dentry(struct check *check, struct pysc_header *object)
{
    const struct pysc_dentry *dentry = (struct pysc_dentry *)object, *dentries = check->objects->dentries;
    uint32_t steps = 0, up = object->index;

    EXPECT(DENTRY, dentry, dentry->users >= tally_of(check, PYSC_OBJECT_DENTRY, up)->count);
    EXPECT(DENTRY, dentry, dentries[dentry->parent].cache == dentry->cache);
    for (; dentries[up].parent != up && !tally_of(check, PYSC_OBJECT_DENTRY, up)->other; up = dentries[up].parent)
        EXPECT(DENTRY, dentry, ++steps < check->objects->pools[PYSC_OBJECT_DENTRY].n);
    for (up = object->index; !tally_of(check, PYSC_OBJECT_DENTRY, up)->other; up = dentries[up].parent)
        tally_of(check, PYSC_OBJECT_DENTRY, up)->other = 1;
    return 0;
}

static int
judge_epoll(struct check *check, struct pysc_header *object)
{
    struct pysc_epoll *epoll = (struct pysc_epoll *)object;
    struct pysc_item *item;

    for (uint32_t number = epoll->first; number; number = item->next) {
        item = &check->objects->items[number - 1];
        EXPECT(EPOLL, epoll, item->ready && !tally_of(check, PYSC_OBJECT_ITEM, number - 1)->count);
        tally_of(check, PYSC_OBJECT_ITEM, number - 1)->count++;
        item->previous = epoll->last;
        epoll->last = number;
    }
    return 0;
}

static int
judge_item(struct check *check, struct pysc_header *object)
{
    const struct pysc_item *item = (struct pysc_item *)object;

    EXPECT(ITEM, item, item->ready == tally_of(check, PYSC_OBJECT_ITEM, object->index)->count);
    EXPECT(ITEM, item, item->ready || !item->next);
    return 0;
}

static int
judge_handlers(struct check *check, struct pysc_header *object)
{
    const struct pysc_handlers *handlers = (struct pysc_handlers *)object;

    for (uint32_t i = 0; i < sizeof handlers->actions / sizeof *handlers->actions; i++) {
        const struct pysc_action *action = &handlers->actions[i];

        EXPECT(HANDLERS, handlers, !(action->mask & UNBLOCKABLE));
        EXPECT(HANDLERS, handlers, !(UNBLOCKABLE >> i & 1) || !action->handler);
    }
    return 0;
}

static int
by_owner(const void *left, const void *right)
{
    const struct pysc_lock *a = left, *b = right;

    if (a->owner != b->owner)
        return a->owner < b->owner ? -1 : 1;
    return a->start < b->start ? -1 : a->start > b->start;
}

/* Two of one owner do not overlap, and were they equal they would be one. */
static int
are_apart(const struct pysc_lock *a, const struct pysc_lock *b)
{
    return a->owner != b->owner || a->end + (a->exclusive == b->exclusive) < b->start;
}

static int
judge_owners(struct check *check, const struct pysc_locks *locks)
{
    struct pysc_lock *sorted = calloc(locks->n + 1, sizeof *sorted);
    int apart = 1;

    if (!sorted)
        return -ENOMEM;
    for (uint32_t i = 0; i < locks->n; i++)
        sorted[i] = locks->records[i];
    qsort(sorted, locks->n, sizeof *sorted, by_owner);
    for (uint32_t i = 1; i < locks->n; i++)
        apart &= are_apart(&sorted[i - 1], &sorted[i]);
    free(sorted);
    EXPECT(LOCKS, locks, apart);
    return 0;
}

static int
judge_locks(struct check *check, struct pysc_header *object)
{
    const struct pysc_locks *locks = (struct pysc_locks *)object;
    uint64_t last = 0, free_from = 0, free_to_share = 0; /* behind all, and behind the exclusive ones */

    for (uint32_t i = 0; i < locks->n; i++) {
        const struct pysc_lock *lock = &locks->records[i];

        EXPECT(LOCKS, locks, pysc_owner_lives(check->objects, lock->owner) && lock->exclusive <= 1);
        EXPECT(LOCKS, locks, lock->start <= lock->end && lock->end <= PYSC_LOCK_END && lock->start >= last);
        EXPECT(LOCKS, locks, lock->start >= (lock->exclusive ? free_from : free_to_share));
        last = lock->start;
        free_from = lock->end >= free_from ? lock->end + 1 : free_from;
        free_to_share = lock->exclusive ? lock->end + 1 : free_to_share;
    }
    return judge_owners(check, locks);
}

static const step counting[PYSC_OBJECT_KINDS] = {
    [PYSC_OBJECT_TABLE] = count_table,
    [PYSC_OBJECT_FILE] = count_file,
    [PYSC_OBJECT_DATA] = count_data,
    [PYSC_OBJECT_CONTEXT] = count_context,
    [PYSC_OBJECT_DENTRY] = count_dentry,
    [PYSC_OBJECT_INODE] = count_inode,
};
static const step judging[PYSC_OBJECT_KINDS] = {
    [PYSC_OBJECT_FILE] = judge_file,
    [PYSC_OBJECT_DATA] = judge_data,
    [PYSC_OBJECT_PIPE] = judge_pipe,
    [PYSC_OBJECT_BUDGET] = judge_budget,
    [PYSC_OBJECT_DCACHE] = judge_dcache,
    [PYSC_OBJECT_DENTRY] = judge_dentry,
    [PYSC_OBJECT_EPOLL] = judge_epoll, /* before their items */
    [PYSC_OBJECT_ITEM] = judge_item,
    [PYSC_OBJECT_HANDLERS] = judge_handlers,
    [PYSC_OBJECT_LOCKS] = judge_locks,
};

/* That all that is named lives is known before anything is looked at by its name. */
static int
find_names(struct check *check, uint32_t kind)
{
    int64_t i;

    for (i = pysc_object_next(check->objects, kind, 0); i >= 0; i = pysc_object_next(check->objects, kind, (uint32_t)i + 1)) {
        struct pysc_header *object = pysc_object_at(check->objects, kind, (uint32_t)i);

        if (!pysc_names_living(check->objects, kind, object, 0))
            return refuse(check, kind, object, "it names what lives");
    }
    return 0;
}

static int
take_step(struct check *check, uint32_t kind, step step)
{
    int64_t i = step ? pysc_object_next(check->objects, kind, 0) : -1;
    int failed = 0;

    for (; i >= 0 && !failed; i = pysc_object_next(check->objects, kind, (uint32_t)i + 1))
        failed = step(check, pysc_object_at(check->objects, kind, (uint32_t)i));
    return failed;
}

static int
check_all(struct check *check)
{
    int failed = 0;

    for (uint32_t kind = 0; kind < PYSC_OBJECT_KINDS && !failed; kind++) {
        check->of[kind] = calloc(check->objects->pools[kind].n + 1U, sizeof *check->of[kind]);
        failed = check->of[kind] ? find_names(check, kind) : -ENOMEM;
    }
    for (uint32_t kind = 0; kind < PYSC_OBJECT_KINDS && !failed; kind++)
        failed = take_step(check, kind, counting[kind]);
    for (uint32_t kind = 0; kind < PYSC_OBJECT_KINDS && !failed; kind++)
        failed = take_step(check, kind, judging[kind]);
    return failed;
}

int64_t
pysc_objects_check(struct pysc_objects *objects, struct pysc_refusal *refusal)
{
    struct check check = {.objects = objects, .refusal = refusal};
    int failed;

    if (!objects->unchecked)
        return 0;
    failed = check_all(&check);
    for (uint32_t kind = 0; kind < PYSC_OBJECT_KINDS; kind++)
        free(check.of[kind]);
    if (failed) {
        pysc_objects_forget(objects);
    } else {
        pysc_objects_settle(objects);
        objects->unchecked = 0;
    }
    return failed;
}
