/* Start: as the zygote, which makes blanks on the sentry's order, or as a blank, which becomes a guest process. */

#include "guest.h"

#include <asm/signal.h>
#include <linux/filter.h>
#include <linux/membarrier.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/time_types.h>
#include <linux/resource.h>

#define PROT_READ 1
#define PROT_RW 3
#define MAP_SHARED 1
#define MAP_PRIVATE 2
#define MAP_FIXED 0x10
#define MAP_ANONYMOUS 0x20
#define MAP_NORESERVE 0x4000
#define MAP_FIXED_NOREPLACE 0x100000
#define MADV_DONTFORK 10
#define AT_EXECFN 31
#define AT_SYSINFO_EHDR 33
#define AT_EMPTY_PATH 0x1000
#define NR_MSEAL 462

/* Descriptors of the zygote; its stdio is closed. */
#define ZYGOTE_SOCKET 3
#define ZYGOTE_IMAGE 4
#define ZYGOTE_FREE 5

struct message {
    void *name;
    uint64_t name_size;
    struct vector {
        void *base;
        uint64_t size;
    } * vectors;
    uint64_t n_vectors;
    void *control;
    uint64_t control_size;
    uint64_t flags;
};

/* Of an order: socket, channel, shared page. */
#define N_RIGHTS 3

struct rights {
    uint64_t size;
    int32_t level, type;
    int32_t files[N_RIGHTS];
};
#define RIGHTS_SIZE(n) (offsetof(struct rights, files) + (n) * sizeof(int32_t))

static void
limit(int resource, uint64_t soft, uint64_t hard)
{
    uint64_t limits[2] = {soft, hard};

    if (host(__NR_prlimit64, 0, resource, limits, 0) != 0)
        die();
}

/* Only 1 keeps the host's core pattern from being fed where it is a pipe (core(5)).  Where none is allowed, and that is
 * not to be changed, it stays: the supervisor has said so. */
static void
limit_cores(void)
{
    uint64_t limits[2] = {1, 1};

    if (host(__NR_prlimit64, 0, RLIMIT_CORE, limits, 0) == 0)
        return;
    if (host(__NR_prlimit64, 0, RLIMIT_CORE, 0, limits) != 0 || limits[1] != 0)
        die();
}

/* How the host's scheduler sees this thread: while it makes blanks it preempts nobody who woke it. */
static void
schedule_as(int policy)
{
    const int32_t priority = 0;

    host(__NR_sched_setscheduler, 0, policy, &priority);
}

static long
install_listener(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_clone, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};

    return host(__NR_seccomp, SECCOMP_SET_MODE_FILTER,
                SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
}

/* The listener, or -errno. */
static void
send_listener(int64_t listener)
{
    struct vector vector = {&listener, sizeof listener};
    struct rights rights = {RIGHTS_SIZE(1), 1, 1, {(int32_t)listener}};
    struct message message = {0, 0, &vector, 1, listener < 0 ? 0 : &rights, listener < 0 ? 0 : sizeof rights, 0};

    host(__NR_sendmsg, ZYGOTE_SOCKET, &message, 0);
}

/* In the child: socket, channel, shared page become descriptors 0 to 2, the image 4; start over as a blank. */
static _Noreturn void
become_blank(const int32_t *files)
{
    const char *const arguments[] = {"blank", 0};

    for (int i = 0; i < N_RIGHTS; i++)
        host(__NR_dup3, files[i], i, 0);
    host(__NR_close, ZYGOTE_SOCKET);
    host(__NR_close_range, ZYGOTE_IMAGE + 1, ~0U, 0);
    host(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL);
    host(__NR_execveat, 4, "", arguments, arguments + 1, AT_EMPTY_PATH);
    die();
}

static void
make_blank(const int32_t *files)
{
    struct clone_args arguments = {.flags = CLONE_PARENT};

    if (host(__NR_clone3, &arguments, sizeof arguments) == 0)
        become_blank(files);
    for (int i = 0; i < N_RIGHTS; i++)
        host(__NR_close, files[i]); /* if there is no child, these were the last: the sentry sees its socket hang up */
}

static _Noreturn void
zygote(void)
{
    long listener;

    if (host(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL) != 0 || host(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        die();
    schedule_as(SCHED_BATCH);
    limit(RLIMIT_NOFILE, 64, 64);
    limit(RLIMIT_MEMLOCK, 0, 0);
    limit_cores();
    listener = install_listener();
    send_listener(listener);
    if (listener < 0)
        die();
    host(__NR_close, listener);
    for (;;) {
        uint64_t order;
        struct rights rights;
        struct vector vector = {&order, sizeof order};
        struct message message = {0, 0, &vector, 1, &rights, sizeof rights, 0};
        long got = host(__NR_recvmsg, ZYGOTE_SOCKET, &message, 0);

        if (got == -EINTR)
            continue;
        if (got <= 0)
            host(__NR_exit_group, 0);
        if (message.control_size >= RIGHTS_SIZE(N_RIGHTS) && rights.size == RIGHTS_SIZE(N_RIGHTS))
            make_blank(rights.files);
    }
}

/* An empty frame with which a thread that came from nowhere can be entered. */
void
blank_ucontext(struct ucontext *uc, struct record *r)
{
    memset(uc, 0, sizeof *uc);
    uc->flags = 6; /* UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS */
    uc->stack_sp = stack_of(r->channel, r->index) + FRAME_AREA;
    uc->stack_size = ALTERNATE_SIZE;
    uc->mcontext.cs = 0x33;
    uc->mcontext.ss = 0x2b;
    uc->mcontext.eflags = 0x202;
}

struct birth {
    struct pysc_channel *channel;
    uint64_t stack_start, stack_end; /* the host's first stack */
};

/* On the handler stack of slot 0: drop what exec gave, lock the door, serve. */
static void
blank_main(uint64_t argument)
{
    struct birth *birth = (struct birth *)argument;
    struct pysc_channel *channel = birth->channel;
    struct record *r = record_at(stack_of(channel, 0));
    struct sock_fprog program;
    struct ucontext uc;
    struct context c;

    program.len = (uint16_t)(channel->filter_length <= PYSC_FILTER_LENGTH ? channel->filter_length : 0);
    program.filter = (struct sock_filter *)channel->filter;
    if (host(__NR_munmap, birth->stack_start, birth->stack_end - birth->stack_start) != 0)
        die();
    write_gs_base((uint64_t)r);
    if (set_alternate_stack(r) != 0)
        die();
    install_handlers();
    host(__NR_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
    host(__NR_set_tid_address, &r->slot->tid);
    host(__NR_prctl, PR_SET_NAME, "pysc-guest");
    schedule_as(SCHED_NORMAL);
    if (host(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
        die();
    blank_ucontext(&uc, r);
    c.r = r;
    load_registers(&c, &uc);
    report(&c, PYSC_KIND_BORN, 0, (uint64_t[6]){0});
    serve(&c);
    store_registers(&c);
    enter_guest(&uc);
}

static void
fill_hole(uint64_t start, uint64_t end)
{
    if (start < end &&
        host(__NR_mmap, start, end - start, 0, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0) !=
            (long)start)
        die();
}

static void
map_or_die(uint64_t address, uint64_t size, int prot, int flags, int file)
{
    if (host(__NR_mmap, address, size, prot, flags | MAP_FIXED_NOREPLACE, file, 0) != (long)address)
        die();
}

static struct pysc_channel *
map_channel(void)
{
    struct pysc_channel *look = (void *)host(__NR_mmap, 0, 8192, PROT_READ, MAP_SHARED, 1, 0);
    uint64_t base;

    if ((uint64_t)look > PYSC_TASK_SIZE || look->version != PYSC_CHANNEL_VERSION)
        die();
    base = look->base;
    host(__NR_munmap, look, 8192);
    map_or_die(base, CHANNEL_SIZE, PROT_RW, MAP_SHARED, 1);
    host(__NR_madvise, base, CHANNEL_SIZE, MADV_DONTFORK);
    map_or_die(base - SHARED_OFFSET, PAGE, PROT_READ, MAP_SHARED, 2);
    map_or_die(base - PYSC_SPACE_OFFSET, SPACE_SIZE, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    map_or_die(base + STACKS_OFFSET, STACKS_SIZE, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    host(__NR_close_range, PYSC_FD_SOCKET + 1, ~0U, 0);
    return (struct pysc_channel *)base;
}

static uint64_t
auxiliary(uint64_t *stack, uint64_t type)
{
    uint64_t *p = stack + 1 + stack[0] + 1;

    while (*p++)
        ;
    for (; p[0]; p += 2) {
        if (p[0] == type)
            return p[1];
    }
    return 0;
}

/* The jump table, at its random place in the window whose bytes the patched instructions rely on. */
static void
make_table(uint64_t table)
{
    const uint64_t size = (8 * PYSC_SITES + PAGE - 1) & -PAGE;

    if ((table & (PAGE - 1)) || table < PYSC_TABLE_START || table + size > PYSC_TABLE_END)
        die();
    fill_hole(PYSC_TABLE_START, table);
    map_or_die(table, size, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    fill_table((uint64_t *)table);
    host(__NR_mprotect, table, size, PROT_READ);
    fill_hole(table + size, PYSC_TABLE_END);
}

static _Noreturn void
blank(uint64_t *stack)
{
    struct pysc_channel *channel = map_channel();
    const char *name = (const char *)auxiliary(stack, AT_EXECFN);
    struct birth *birth;

    if (!name)
        die();
    while (*name++)
        ;
    install_thread(channel, 0);
    birth = (struct birth *)(stack_of(channel, 0) + PYSC_STACK_SIZE - 1024);
    birth->channel = channel;
    birth->stack_start = ((uint64_t)stack & -PAGE) - 0x40000;
    birth->stack_end = ((uint64_t)name + 8 + PAGE - 1) & -PAGE;
    map_or_die(PYSC_VDSO_TABLE, PAGE, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    find_clocks((const uint8_t *)auxiliary(stack, AT_SYSINFO_EHDR), (uint64_t *)PYSC_VDSO_TABLE);
    host(__NR_mprotect, PYSC_VDSO_TABLE, PAGE, PROT_READ);
    fill_hole(PYSC_LOW, (uint64_t)guest_text_start);
    fill_hole((uint64_t)guest_rodata_end, PYSC_VDSO);
    fill_hole((uint64_t)guest_image_end, PYSC_VDSO_TABLE);
    fill_hole(PYSC_VDSO_TABLE + PAGE, PYSC_TABLE_START);
    make_table(channel->table);
    fill_hole(PYSC_TABLE_END, (uint64_t)trampolines);
    fill_hole((uint64_t)guest_trampolines_end, PYSC_LIMIT);
    host(NR_MSEAL, PYSC_LOW, PYSC_LIMIT - PYSC_LOW, 0); /* where there is one */
    switch_stack((uint64_t)birth, blank_main, (uint64_t)birth);
}

void
guest_main(uint64_t *stack)
{
    const char *role = stack[0] > 0 ? (const char *)stack[1] : "";

    if (role[0] == 'z')
        zygote();
    blank(stack);
}
