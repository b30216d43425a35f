/* Descriptors of regular files, open for reading only, that the sentry has sent and that are kept: reads of them go
 * straight into the guest's memory.  What is read is the sentry's decision, call by call; of a number that it has lent, until
 * it takes that back. */

#include "guest.h"

static struct kept *
place_at(struct context *c, uint64_t place)
{
    if (place >= PYSC_KEPT)
        die();
    return &c->r->space->kept[place];
}

static void
close_file(int32_t file)
{
    if (file)
        host(__NR_close, file);
}

/* Receiving and storing are one step: a child of a fork knows what it has inherited. */
int64_t
keep_file(struct context *c, uint64_t place, uint64_t serial)
{
    struct kept *kept = place_at(c, place);
    int32_t old = 0;
    int64_t failed;

    lock_space(c->r->space);
    failed = receive_files(c->r);
    failed = failed < 0 ? failed : failed != 1 ? -EBADF : kept->users ? -EBUSY : 0;
    if (!failed) {
        old = kept->file;
        *kept = (struct kept){.serial = serial, .file = c->r->files[0]};
        c->r->n_files = 0;
    }
    unlock_space(c->r->space);
    close_file(old);
    close_files(c->r);
    return failed;
}

/* Who reads from it now closes it. */
int64_t
forget_file(struct context *c, uint64_t place)
{
    struct kept *kept = place_at(c, place);
    int32_t file = 0;

    lock_space(c->r->space);
    kept->serial = 0;
    if (!kept->users) {
        file = kept->file;
        kept->file = 0;
    }
    unlock_space(c->r->space);
    close_file(file);
    return 0;
}

/* In the child of a fork: what its parent kept is not known to the sentry. */
void
forget_files_of_parent(struct space *space)
{
    for (uint32_t i = 0; i < PYSC_KEPT; i++) {
        close_file(space->kept[i].file);
        space->kept[i] = (struct kept){0};
    }
}

static int
take_place(struct context *c, struct kept *kept, uint64_t serial)
{
    int ours;

    lock_space(c->r->space);
    ours = serial && kept->serial == serial;
    if (ours)
        kept->users++;
    unlock_space(c->r->space);
    return ours;
}

static void
leave_place(struct context *c, struct kept *kept)
{
    int32_t file = 0;

    lock_space(c->r->space);
    if (--kept->users == 0 && !kept->serial) {
        file = kept->file;
        kept->file = 0;
    }
    unlock_space(c->r->space);
    close_file(file);
}

/* pread64(2) of a number that was lent; returns whether it has been answered.  The sentry may take it back at any time: then
 * the read is one that had begun before. */
int
read_lent(struct context *c, const uint64_t *a)
{
    const struct pysc_lent *lent = &c->r->slot->lent[(uint32_t)a[0] % PYSC_LENT];
    uint64_t era = __atomic_load_n(&lent->era, __ATOMIC_ACQUIRE), name = __atomic_load_n(&lent->name, __ATOMIC_ACQUIRE);
    struct kept *kept = &c->r->space->kept[name % PYSC_KEPT];

    if ((uint32_t)a[0] >= PYSC_LENT || !era || era != __atomic_load_n(&c->r->shared->era, __ATOMIC_ACQUIRE) ||
        era != __atomic_load_n(&lent->era, __ATOMIC_ACQUIRE) || !range_ok(a[1], a[2]) ||
        !take_place(c, kept, name / PYSC_KEPT))
        return 0;
    c->regs.rax = (uint64_t)host(__NR_pread64, kept->file, a[1], a[2], a[3]);
    leave_place(c, kept);
    return 1;
}

/* Returns whether the stop is over; else the call was reported again. */
int
read_kept(struct context *c, const struct pysc_command *command)
{
    const uint64_t *a = command->args;
    struct kept *kept = place_at(c, a[0]);
    long result = -EBADF;

    if (take_place(c, kept, a[1])) {
        result = host(__NR_pread64, kept->file, a[2], a[3], a[4]);
        leave_place(c, kept);
    }
    if ((uint64_t)result != a[3]) {
        report_again(c, PYSC_KIND_UNDONE);
        return 0;
    }
    c->regs.rax = (uint64_t)result;
    return 1;
}
