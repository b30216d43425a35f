/* Patching call sites: which, how, and the records by which handlers know them.
 *
 * A site's `syscall` with its neighbour becomes `jmp *entry` (ff 24 e5 imm32), which leads through the table to the
 * site's trampoline.  Other threads run meanwhile, so the bytes are written in stages, all cores synchronized between
 * two: at each stage every entry into the bytes either does what it did, or faults where a handler knows the site.
 * Anything that is not one of the forms keeps trapping. */

#include "guest.h"

#define PROT_RX 5
#define PROT_RWX 7
#define SYNC_CORE 32
#define REGISTER_SYNC_CORE 64
#define ENOUGH_TRAPS 3
#define TRAMPOLINE 64
#define INVALID 0x06 /* in 64-bit code; and what byte 5 of a patched site is, since the table is in 0x60000-0x6ffff */
_Static_assert(PYSC_TABLE_START >> 16 == INVALID && (PYSC_TABLE_END - 1) >> 16 == INVALID, "the table's window");

void
take_lock(uint32_t *lock)
{
    while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE))
        host(__NR_sched_yield, 0);
}

void
give_lock(uint32_t *lock)
{
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

void
lock_space(struct space *space)
{
    take_lock(&space->lock);
}

void
unlock_space(struct space *space)
{
    give_lock(&space->lock);
}

void
fill_table(uint64_t *table)
{
    for (uint64_t i = 0; i < PYSC_SITES; i++)
        table[i] = (uint64_t)trampolines + i * TRAMPOLINE;
}

/* A private file mapping, readable and executable, has been made. */
void
note_text(struct space *space, uint64_t start, uint64_t length)
{
    lock_space(space);
    if (space->n_text < sizeof space->text / sizeof *space->text)
        space->text[space->n_text++] = (struct text){start, start + length};
    unlock_space(space);
}

/* Its memory is about to change: nothing there is patched any more, and sites there are dead.  Returns whether it was text. */
int
forget_text(struct space *space, uint64_t start, uint64_t length)
{
    uint64_t end = start + length;
    uint32_t n = space->n_text, i;

    for (i = 0; i < n; i++) {
        if (space->text[i].start < end && start < space->text[i].end)
            break;
    }
    if (i == n || end <= start)
        return 0;
    lock_space(space);
    for (i = 0; i < space->n_text; i++) {
        if (space->text[i].start < end && start < space->text[i].end)
            space->text[i--] = space->text[--space->n_text];
    }
    for (i = 0; i < PYSC_SITES; i++) {
        if (space->sites[i].address >= start && space->sites[i].address < end)
            space->sites[i].dead = 1;
    }
    unlock_space(space);
    return 1;
}

/* Code has been moved with what was patched there: calls go on where it is now. */
void
move_sites(struct space *space, uint64_t start, uint64_t length, uint64_t by)
{
    lock_space(space);
    for (uint32_t i = 0; i < PYSC_SITES; i++) {
        uint64_t address = space->sites[i].address;

        if (address >= start && address - start < length)
            __atomic_store_n(&space->sites[i].address, address + by, __ATOMIC_SEQ_CST);
    }
    unlock_space(space);
}

static int
is_text(const struct space *space, uint64_t first, uint64_t last)
{
    for (uint32_t i = 0; i < space->n_text; i++) {
        if (first >= space->text[i].start && last < space->text[i].end)
            return 1;
    }
    return 0;
}

/* Whether the call has trapped here often enough. */
static int
often(struct space *space, uint64_t rip)
{
    uint64_t *entry = &space->traps[rip * 0x9e3779b97f4a7c15 >> 56]; /* address << 8 | count; races only cost time */

    if (*entry >> 8 == rip)
        return (++*entry & 0xff) >= ENOUGH_TRAPS;
    if (*entry & 0xff)
        --*entry; /* two that share it: one at a time */
    else
        *entry = rip << 8 | 1;
    return 0;
}

/* What stands around the call whose next instruction is at `next`; 0: no form that we know. */
static enum form
recognize(const uint8_t *next, int32_t nr, uint64_t *address)
{
    int32_t number;

    *address = (uint64_t)next - 7;
    memcpy(&number, next - 6, 4);
    if (next[-7] == 0xb8 && number == nr && (next[-8] & 0xf0) != 0x40)
        return FORM_MOV;
    if (next[-7] == 0x4c && next[-6] == 0x89 && next[-5] == 0x5c && next[-4] == 0x24 && next[-3] == 0x08)
        return FORM_CANCELLABLE;
    *address = (uint64_t)next - 2;
    memcpy(&number, next + 2, 4);
    if (next[0] == 0x48 && next[1] == 0x3d && (number == -4096 || number == -4095))
        return number == -4096 ? FORM_CMP_4096 : FORM_CMP_4095;
    return 0;
}

static struct site *
free_site(struct space *space, enum form form)
{
    if (form == FORM_CANCELLABLE)
        return space->n_cancellable < PYSC_CANCELLABLE
                   ? &space->sites[PYSC_SITES - PYSC_CANCELLABLE + space->n_cancellable++]
                   : 0;
    return space->n_sites < PYSC_SITES - PYSC_CANCELLABLE ? &space->sites[space->n_sites++] : 0;
}

static int
synchronize(void)
{
    long result = host(__NR_membarrier, SYNC_CORE, 0, 0);

    if (result == -EPERM) { /* not registered since the fork */
        host(__NR_membarrier, REGISTER_SYNC_CORE, 0, 0);
        result = host(__NR_membarrier, SYNC_CORE, 0, 0);
    }
    return result == 0 ? 0 : -1;
}

static void
store(uint8_t *to, uint8_t byte)
{
    __atomic_store_n(to, byte, __ATOMIC_SEQ_CST);
}

/* 7 bytes with the call at +5: first bytes 5 and 0 become invalid in 64-bit code (06).  Whoever has done the first
 * instruction faults at +5, whoever has not at +0: nobody executes a `mov` whose number is half written. */
static void
write_call_last(uint8_t *at, const uint8_t *jump)
{
    store(at + 5, INVALID);
    synchronize();
    store(at, INVALID);
    synchronize();
    for (int i = 1; i < 7; i++) {
        if (i != 5)
            store(at + i, jump[i]);
    }
    synchronize();
    store(at, jump[0]);
    synchronize();
}

/* 8 bytes with the call at +0: first the cmp becomes a privileged `in`, which faults, then the call. */
static void
write_call_first(uint8_t *at, const uint8_t *jump)
{
    store(at + 2, jump[2]);
    synchronize();
    for (int i = 3; i < 7; i++)
        store(at + i, jump[i]);
    store(at + 1, jump[1]);
    synchronize();
    store(at, jump[0]);
    synchronize();
}

/* The jump by a site's entry of the table. */
static void
make_jump(uint8_t *jump, const struct space *space, const struct site *site, uint64_t table)
{
    uint32_t entry = (uint32_t)(table + 8 * (uint64_t)(site - space->sites));

    jump[0] = 0xff, jump[1] = 0x24, jump[2] = 0xe5;
    memcpy(jump + 3, &entry, 4);
}

static int
same(const uint8_t *bytes, const uint8_t *jump)
{
    for (int i = 0; i < 7; i++) {
        if (bytes[i] != jump[i])
            return 0;
    }
    return 1;
}

static void
write_site(const struct space *space, const struct site *site, uint64_t table)
{
    uint8_t jump[7];

    make_jump(jump, space, site, table);
    if (site->form == FORM_CMP_4096 || site->form == FORM_CMP_4095)
        write_call_first((uint8_t *)site->address, jump);
    else
        write_call_last((uint8_t *)site->address, jump);
}

static void
patch(struct context *c, struct space *space, uint64_t next, int32_t nr)
{
    uint64_t address, page = next & -PAGE;
    struct site *site;
    enum form form = recognize((const uint8_t *)next, nr, &address);

    if (!form || !(site = free_site(space, form)))
        return;
    site->nr = nr;
    site->form = form;
    memcpy(site->original, (const void *)address, 8);
    __atomic_store_n(&site->address, address, __ATOMIC_SEQ_CST);
    if (synchronize() != 0 || host(__NR_mprotect, page, PAGE, PROT_RWX) != 0) {
        site->dead = 1;
        return;
    }
    write_site(space, site, c->r->channel->table);
    host(__NR_mprotect, page, PAGE, PROT_RX);
}

/* A call has trapped: its site may be worth a patch. */
void
consider_patch(struct context *c, uint64_t call_address)
{
    struct space *space = c->r->space;
    uint64_t next = c->regs.rip;
    uint64_t table = c->r->channel->table;

    if (call_address != next || !often(space, next))
        return;
    if ((next - 8) / PAGE != (next + 5) / PAGE || table < PYSC_TABLE_START || table + 8 * PYSC_SITES > PYSC_TABLE_END)
        return;
    if (__atomic_exchange_n(&space->lock, 1, __ATOMIC_ACQUIRE))
        return;
    if (is_text(space, next - 8, next + 5) && *(const uint16_t *)(next - 2) == 0x050f)
        patch(c, space, next, (int32_t)c->nr);
    unlock_space(space);
}

static int
calls_first(const struct site *site)
{
    return site->form == FORM_CMP_4096 || site->form == FORM_CMP_4095;
}

/* Where a thread is after the call of a site. */
uint64_t
after_call(const struct site *site)
{
    return site->address + (calls_first(site) ? 2 : 7);
}

/* Where in a site its second instruction begins. */
static uint64_t
middle_of(const struct site *site)
{
    return calls_first(site) ? 2 : 5;
}

static int
still_there(const struct space *space, const struct site *site, uint64_t table)
{
    uint8_t bytes[7], jump[7];

    make_jump(jump, space, site, table);
    if (copy_bytes(bytes, (const void *)site->address, 7) != 0)
        return 0;
    if (site->dead) /* no other code has this very jump */
        return same(bytes, jump);
    /* Any stage of the writing counts. */
    return calls_first(site) ? bytes[2] == jump[2] : bytes[5] == INVALID;
}

/* The site at whose beginning RIP is, while it is written, or into whose middle it has come: where its call was (+5), or
 * behind its call (+2). */
const struct site *
site_around(const struct record *r, uint64_t rip)
{
    const struct space *space = r->space;

    for (uint32_t i = 0; i < PYSC_SITES; i++) {
        const struct site *site = &space->sites[i];

        if (site->address && (site->address + middle_of(site) == rip || site->address == rip) &&
            still_there(space, site, r->channel->table))
            return site;
    }
    return 0;
}

/* Whether a site's own bytes are there again, its page mapped or dropped anew: who has just met something else comes again. */
int
site_is_restored(const struct space *space, uint64_t rip)
{
    uint8_t bytes[7];

    for (uint32_t i = 0; i < PYSC_SITES; i++) {
        const struct site *site = &space->sites[i];

        if (site->address && (site->address == rip || site->address + middle_of(site) == rip) &&
            copy_bytes(bytes, (const void *)site->address, sizeof bytes) == 0 && same(bytes, site->original))
            return 1;
    }
    return 0;
}

/* The site whose trampoline RIP is in, if it is in one at all. */
const struct site *
site_of_trampoline(const struct space *space, uint64_t rip)
{
    uint64_t index = (rip - (uint64_t)trampolines) / TRAMPOLINE;

    if (rip < (uint64_t)trampolines || index >= PYSC_SITES || !space->sites[index].address)
        return 0;
    return &space->sites[index];
}

static uint32_t
leave(struct context *c)
{
    const struct site *site = &c->r->space->sites[c->r->spare[1]];

    if (c->uc || (c->regs.eflags & 0x100)) {
        need_frame(c);
        store_registers(c);
        enter_guest(c->uc);
    }
    write_fs_base(c->regs.fs_base);
    if (c->regs.rip != after_call(site) || site->form == FORM_MOV || site->form == FORM_CANCELLABLE)
        return 0;
    c->regs.rip = site->address + 8;
    return site->form == FORM_CMP_4096 ? 1 : 2;
}

/* A patched site was entered; registers as at the site, but rip holds the site's number.  Returns how to leave. */
uint32_t
on_patched(struct context *c)
{
    const struct site *site;

    c->r = record_at((uint64_t)c);
    c->uc = 0;
    if (c->regs.rip >= PYSC_SITES)
        die();
    c->r->spare[1] = c->regs.rip;
    site = &c->r->space->sites[c->regs.rip];
    if (site->form == FORM_MOV)
        c->regs.rax = (uint64_t)(int64_t)site->nr;
    c->regs.rip = after_call(site);
    c->regs.rcx = c->regs.rip;
    c->regs.r11 = c->regs.eflags;
    c->regs.fs_base = read_fs_base();
    serve_call(c, (int32_t)c->regs.rax);
    return leave(c);
}

uint32_t
on_patched_pending(struct context *c)
{
    if (c->r->leave) /* undo what leave() did to rip */
        c->regs.rip -= 6;
    c->r->preempt = 0;
    report(c, PYSC_KIND_PREEMPTED, 0, (uint64_t[6]){0});
    serve(c);
    return leave(c);
}
