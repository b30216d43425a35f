/* What the parts of the guest half share.  Its only writable memory: the channel, and per thread a stack with a record. */
#ifndef PYSC_GUEST_H
#define PYSC_GUEST_H

#include <stdint.h>
#include <stddef.h>

#include <asm/errno.h>
#include <asm/unistd.h>

#include "channel.h"

#define PAGE 4096UL
#define CHANNEL_SIZE sizeof(struct pysc_channel)
#define STACKS_SIZE ((uint64_t)PYSC_SLOTS * PYSC_STACK_SIZE)

/* From the channel's base: down, the shared page and the space's own page; up, the handler stacks. */
#define SHARED_OFFSET 0x10000UL
#define SPACE_OFFSET 0x20000UL
#define STACKS_OFFSET ((CHANNEL_SIZE + PYSC_STACK_SIZE - 1) & ~(PYSC_STACK_SIZE - 1UL))

_Static_assert(offsetof(struct pysc_channel, slots) == 8192, "header");
_Static_assert(sizeof(struct pysc_slot) == 8192 + PYSC_DATA_SIZE, "slot");
_Static_assert(sizeof(struct pysc_registers) == 152, "registers");

/* What is private to the guest process and one of a kind in it. */
struct space {
    uint32_t fork_lock;
    uint32_t padding;
};

/* The private record of a thread: the top 256 bytes of its handler stack.  GS base points at it.  Offsets: entry.S. */
struct record {
    uint64_t self;
    uint32_t preempt; /* a preempt signal came and has not been reported */
    uint32_t index;
    struct pysc_slot *slot;
    struct pysc_channel *channel;
    struct pysc_shared *shared;
    struct space *space;
    int32_t files[4];
    uint32_t n_files;
    uint32_t failed_spins, skipped_spins;
    uint32_t padding;
    uint64_t spare[20];
};
_Static_assert(sizeof(struct record) == 240, "record");
#define RECORD_SIZE 256

struct sigcontext_64 {
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
    uint16_t cs, gs, fs, ss;
    uint64_t err, trapno, oldmask, cr2, fpstate, reserved[8];
};

struct ucontext {
    uint64_t flags, link, stack_sp, stack_flags, stack_size;
    struct sigcontext_64 mcontext;
    uint64_t sigmask;
};

struct siginfo {
    int32_t signo, error, code, pad;
    uint64_t address; /* SIGSYS: call_addr; faults: the address */
    int32_t syscall;
    uint32_t arch;
    uint8_t rest[96];
};

/* A stopped thread's guest state while the guest half serves it. */
struct context {
    struct pysc_registers regs;
    struct ucontext *uc; /* the host's frame that it came with, or that it will be entered with */
    struct record *r;
    int64_t nr;
    uint64_t args[6];
};

static inline long
host6(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
    long result;
    register uint64_t r10 __asm__("r10") = d;
    register uint64_t r8 __asm__("r8") = e;
    register uint64_t r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#define host(nr, ...) HOST_(nr, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define HOST_(nr, a, b, c, d, e, f, ...) \
    host6(nr, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), (uint64_t)(e), (uint64_t)(f))

static inline struct record *
record_at(uint64_t on_stack)
{
    return (struct record *)((on_stack | (PYSC_STACK_SIZE - 1)) + 1 - RECORD_SIZE);
}

static inline uint64_t
stack_of(struct pysc_channel *channel, uint32_t index)
{
    return (uint64_t)channel + STACKS_OFFSET + (uint64_t)index * PYSC_STACK_SIZE;
}

static inline uint64_t
read_fs_base(void)
{
    uint64_t base;
    __asm__ volatile("rdfsbase %0" : "=r"(base));
    return base;
}

static inline void
write_fs_base(uint64_t base)
{
    if (base < PYSC_TASK_SIZE)
        __asm__ volatile("wrfsbase %0" ::"r"(base) : "memory");
}

/* The segment limit that the host keeps there for getcpu(3). */
static inline uint32_t
current_cpu(void)
{
    uint32_t limit = 0;
    __asm__ volatile("lsl %1, %0" : "=r"(limit) : "r"(0x7b));
    return limit & 0xfff;
}

static inline void
write_gs_base(uint64_t base)
{
    __asm__ volatile("wrgsbase %0" ::"r"(base) : "memory");
}

static inline int
range_ok(uint64_t address, uint64_t size)
{
    return address >= PYSC_LIMIT && address <= PYSC_TASK_SIZE && size <= PYSC_TASK_SIZE - address;
}

/* entry.S */
extern char guest_text_start[], guest_text_end[], guest_rodata_end[], guest_image_end[];
extern char exit_check[], exit_end[], exit_pending[], block_check[], block_end[], block_abort[];
void signal_entry(int signo);
void signal_restorer(void);
long block_syscall(long nr, const uint64_t *args, uint32_t *preempt);
_Noreturn void enter_guest(struct ucontext *uc);
_Noreturn void switch_stack(uint64_t top, void (*function)(uint64_t), uint64_t argument);
long clone_thread(uint64_t flags, uint64_t stack, void *tid, void (*function)(uint64_t));
/* Copies that survive faults: what is left uncopied, so 0 is success. */
uint64_t copy_bytes(void *to, const void *from, uint64_t size);
uint64_t zero_bytes(void *to, uint64_t size);
/* The length of the string with its NUL, 0 if there is none within `limit`, or -EFAULT. */
long copy_string(void *to, const void *from, uint64_t limit);
/* Exchange *address if it is `expected`: 0 done, 1 other value (in *expected), -EFAULT. */
long compare_exchange(uint32_t *address, uint32_t *expected, uint32_t value);

void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);

/* handlers.c */
_Noreturn void die(void);
void install_handlers(void);
void install_thread(struct pysc_channel *channel, uint32_t index);
long set_alternate_stack(struct record *r);
int on_signal(int signo, struct siginfo *info, struct ucontext *uc);
void on_pending(struct ucontext *uc);

/* serve.c */
void report(struct context *c, uint32_t kind, int64_t nr, const uint64_t *args);
void serve(struct context *c);
int run_native(struct context *c, long nr, const uint64_t *args);
void load_registers(struct context *c, const struct ucontext *uc);
void store_registers(const struct context *c);
void hand_over(struct record *r);

/* vdso.S, clock.c */
void fall_clock_gettime(void);
void fall_gettimeofday(void);
void fall_time(void);
void fall_clock_getres(void);
void fall_getcpu(void);
void find_clocks(const uint8_t *image, uint64_t *table);

/* native.c */
int answer_natively(struct context *c, int64_t nr, const uint64_t *args);

/* hints.c */
void add_hints(struct pysc_slot *slot, int64_t nr, const uint64_t *args);

/* commands.c */
void gate(long nr, uint64_t *args);
long memory_call(long nr, const uint64_t *args);
int64_t run_command(struct context *c, struct pysc_command *command);

/* frame.c */
int build_frame(struct context *c);
int take_frame(struct context *c, uint64_t *args);

/* thread.c */
int64_t fork_space(struct context *c);
int64_t clone_into(struct context *c, const struct pysc_command *command);
_Noreturn void exit_thread(struct context *c, uint64_t clear_tid, uint64_t robust_list);

/* start.c */
void blank_ucontext(struct ucontext *uc, struct record *r);

#endif
