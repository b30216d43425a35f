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
#define STACKS_OFFSET ((CHANNEL_SIZE + PYSC_STACK_SIZE - 1) & ~(PYSC_STACK_SIZE - 1UL))

_Static_assert(offsetof(struct pysc_channel, slots) == 8192, "header");
_Static_assert(sizeof(struct pysc_slot) == 8192 + PYSC_DATA_SIZE, "slot");
_Static_assert(sizeof(struct pysc_registers) == 152, "registers");

/* A patched call site.  A dead one's code has gone, or may change; threads may still be in its trampoline, or come back to a
 * copy of its jump that a program has made: never used for another. */
struct site {
    uint64_t address;
    int32_t nr; /* FORM_MOV: the call's number */
    uint8_t form, dead, padding[2];
    uint8_t original[8];
};
enum form { FORM_MOV = 1, FORM_CMP_4096, FORM_CMP_4095, FORM_CANCELLABLE };

/* A range of memory that is mapped from an image, though it is anonymous to the guest. */
struct image {
    uint64_t start : 48, traits : 16;
    uint64_t end;
};
#define IMAGE_PROT 7
#define IMAGE_DONTFORK 8
#define IMAGE_WIPEONFORK 16
#define IMAGE_DROPPED 32 /* anonymous by now; the host may have it as several mappings, though it is one to the guest */

/* What is private to the guest process and one of a kind in it. */
struct space {
    uint32_t lock; /* of all below but images; taken across clone */
    uint32_t n_sites, n_cancellable, n_text;
    uint32_t xsave_size, xsave_extended; /* of the host's signal frames */
    uint32_t spinning;
    int32_t socket; /* this process's end */
    uint64_t xfeatures;
    struct text {
        uint64_t start, end;
    } text[128];         /* private file mappings that are r-x and nothing else since they were made */
    uint64_t traps[256]; /* how often which address trapped lately */
    struct kept {
        uint64_t serial; /* the sentry's name for what is there; 0: nothing, once nobody reads from it any more */
        int32_t file;    /* 0: none */
        uint32_t users;  /* threads that read from it now */
    } kept[PYSC_KEPT];
    struct heap {
        uint64_t start, end; /* of brk(2); 0: as the channel says */
    } heap;
    struct site sites[PYSC_SITES];
    uint32_t image_lock; /* of what follows; taken after `lock`, and across clone, too */
    uint32_t n_images;
    struct image images[PYSC_IMAGES + 2]; /* by address; two may be there while one is changed */
};
#define SPACE_SIZE (PYSC_SPACE_OFFSET - SHARED_OFFSET)
_Static_assert(sizeof(struct space) <= SPACE_SIZE, "space");

/* The private record of a thread: the top 256 bytes of its handler stack.  GS base points at it.  Offsets: entry.S. */
struct record {
    uint64_t self;
    uint32_t preempt; /* a preempt signal came and has not been reported */
    uint32_t index;
    uint64_t check;       /* ~self: a trampoline's proof that GS is ours */
    uint64_t guest_rsp;   /* patched.S */
    uint64_t entry_stack;
    uint64_t base;
    uint32_t leave, unused;
    struct pysc_slot *slot;
    struct pysc_channel *channel;
    struct pysc_shared *shared;
    struct space *space;
    int32_t files[4];
    uint32_t n_files;
    uint32_t failed_spins, skipped_spins;
    uint32_t padding;
    uint64_t spare[2];
};
_Static_assert(offsetof(struct record, leave) == 48, "patched.S");
_Static_assert(sizeof(struct record) == 136, "record");
#define RECORD_SIZE 256

/* The bottom of a handler stack holds the frame that a patched call may need; the rest is the host's alternate stack. */
#define FRAME_AREA 16384UL
#define ALTERNATE_SIZE (PYSC_STACK_SIZE - FRAME_AREA - RECORD_SIZE)

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
    struct ucontext *uc; /* the host's frame that it came with, or that it will be entered with; NULL: came by a patch */
    struct record *r;
    int64_t nr;
    uint64_t args[6];
};

_Static_assert(sizeof(struct context) == sizeof(struct pysc_registers) + 72, "patched.S");

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

static inline uint64_t
page_up(uint64_t address)
{
    return (address + PAGE - 1) & -PAGE;
}

static inline int
range_ok(uint64_t address, uint64_t size)
{
    return address >= PYSC_LIMIT && address <= PYSC_TASK_SIZE && size <= PYSC_TASK_SIZE - address;
}

/* entry.S */
extern char guest_text_start[], guest_text_end[], guest_rodata_end[], guest_image_end[], guest_trampolines_end[];
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

/* patched.S */
extern char trampolines[], patched_entry[], patched_check[], patched_leave[], patched_leave_compare[];
extern char patched_leave_compare_1[], patched_end[];
uint32_t on_patched(struct context *c);
uint32_t on_patched_pending(struct context *c);

/* patch.c */
void fill_table(uint64_t *table);
void take_lock(uint32_t *lock);
void give_lock(uint32_t *lock);
void lock_space(struct space *space);
void unlock_space(struct space *space);
void note_text(struct space *space, uint64_t start, uint64_t length);
int forget_text(struct space *space, uint64_t start, uint64_t length);
void move_sites(struct space *space, uint64_t start, uint64_t length, uint64_t by);
void consider_patch(struct context *c, uint64_t call_address);
const struct site *site_around(const struct record *r, uint64_t rip);
int site_is_restored(const struct space *space, uint64_t rip);
const struct site *site_of_trampoline(const struct space *space, uint64_t rip);
uint64_t after_call(const struct site *site);

/* handlers.c */
void serve_call(struct context *c, int64_t nr);
_Noreturn void die(void);
void install_handlers(void);
void install_thread(struct pysc_channel *channel, uint32_t index);
long set_alternate_stack(struct record *r);
int on_signal(int signo, struct siginfo *info, struct ucontext *uc);
void on_pending(struct ucontext *uc);

/* serve.c */
void report(struct context *c, uint32_t kind, int64_t nr, const uint64_t *args);
void report_again(struct context *c, uint32_t kind);
void serve(struct context *c);
int run_native(struct context *c, long nr, const uint64_t *args);
void load_registers(struct context *c, const struct ucontext *uc);
void store_registers(const struct context *c);
void ring(const struct space *space);
void hand_over(struct record *r);

/* vdso.S, clock.c */
void fall_clock_gettime(void);
void fall_gettimeofday(void);
void fall_time(void);
void fall_clock_getres(void);
void fall_getcpu(void);
void find_clocks(const uint8_t *image, uint64_t *table);

/* futex.c */
int64_t futex_wake_op(const uint64_t *args);

/* native.c */
int answer_natively(struct context *c, int64_t nr, const uint64_t *args);

/* hints.c */
void add_hints(struct pysc_slot *slot, int64_t nr, const uint64_t *args);

/* gate.c */
long memory_call(struct space *space, long nr, const uint64_t *args);
long map_image(struct space *space, const uint64_t *args);
long make_anonymous(uint64_t start, uint64_t end, uint64_t traits, uint64_t flags);
void forget_lost(struct space *space, uint64_t start, uint64_t end);
void leave_images_of_parent(struct space *space);

/* remap.c */
long remap_images(struct space *space, const uint64_t *args, uint64_t to);

/* images.c */
struct image *next_image(struct space *space, uint64_t address);
int has_room(const struct space *space, uint32_t images);
uint32_t more_by_cut(struct space *space, uint64_t start, uint64_t end);
uint32_t more_by_change(struct space *space, uint64_t start, uint64_t end);
void cut_images(struct space *space, uint64_t start, uint64_t end);
void add_image(struct space *space, uint64_t start, uint64_t end, uint64_t traits);

/* commands.c */
int64_t copy_strings(uint8_t *data, uint64_t limit, uint64_t address, uint64_t first, uint32_t *used, uint32_t *done);
int64_t run_command(struct context *c, struct pysc_command *command);
int64_t receive_files(struct record *r);
int64_t close_files(struct record *r);

/* heap.c */
int64_t move_heap(struct context *c, uint64_t end);

/* kept.c */
int64_t keep_file(struct context *c, uint64_t place, uint64_t serial);
int64_t forget_file(struct context *c, uint64_t place);
void forget_files_of_parent(struct space *space);
int read_kept(struct context *c, const struct pysc_command *command);
int read_lent(struct context *c, const uint64_t *a);

/* frame.c */
void need_frame(struct context *c);
void note_fpu(struct space *space, const struct ucontext *uc);
int build_frame(struct context *c);
int take_frame(struct context *c, uint64_t *args);

/* thread.c */
int64_t fork_space(struct context *c);
int64_t clone_into(struct context *c, const struct pysc_command *command);
void give_up_locks(struct context *c);
_Noreturn void exit_thread(struct context *c, uint64_t clear_tid);

/* start.c */
void blank_ucontext(struct ucontext *uc, struct record *r);

#endif
