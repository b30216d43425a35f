/* Signal frames of the guest: struct rt_sigframe of x86-64 with the FPU state of the host's own frame.  sigreturn(2). */

#include "guest.h"

#define UC_FLAGS 7 /* UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS */
#define MAGIC1 0x46505853U
#define MAGIC2 0x46505845U
#define REDZONE 128
#define LEGACY 512
#define HEADER_END (LEGACY + 64)
#define SOFTWARE 464 /* struct _fpx_sw_bytes: magic1, extended_size, xfeatures, xstate_size */
#define ENTRY_FLAGS 0x10500UL /* RF, DF, TF: cleared when a handler is entered */
#define USER_FLAGS 0x50dd5UL  /* what a frame may set: AC, RF, OF, DF, TF, SF, ZF, AF, PF, CF */

struct software {
    uint32_t magic1, extended_size;
    uint64_t xfeatures;
    uint32_t xstate_size, padding[7];
};
_Static_assert(sizeof(struct software) == 48, "struct _fpx_sw_bytes");

struct frame {
    uint64_t restorer;
    struct ucontext uc;
    uint8_t info[128];
};
_Static_assert(sizeof(struct frame) == 440, "struct rt_sigframe");

/* The state of an FPU that nobody has used: what a handler starts with. */
static void
reset_fpu(uint8_t *fpu)
{
    const struct software *software = (const struct software *)(fpu + SOFTWARE);
    uint16_t fcw = 0x37f;
    uint32_t mxcsr = 0x1f80;

    memset(fpu, 0, 28); /* all before mxcsr_mask */
    memset(fpu + 32, 0, SOFTWARE - 32);
    memcpy(fpu, &fcw, 2);
    memcpy(fpu + 24, &mxcsr, 4);
    if (software->magic1 == MAGIC1)
        memset(fpu + LEGACY, 0, 64); /* XSTATE_BV = 0: all components in their initial state */
}

static uint32_t
fpu_size(const uint8_t *fpu)
{
    const struct software *software = (const struct software *)(fpu + SOFTWARE);

    return software->magic1 == MAGIC1 ? software->extended_size : LEGACY;
}

/* Learn how the host lays out FPU state in frames: guests find the same in those that we make. */
void
note_fpu(struct space *space, const struct ucontext *uc)
{
    const struct software *software = (const struct software *)(uc->mcontext.fpstate + SOFTWARE);

    if (space->xsave_size || !uc->mcontext.fpstate || software->magic1 != MAGIC1)
        return;
    space->xfeatures = software->xfeatures;
    space->xsave_extended = software->extended_size;
    space->xsave_size = software->xstate_size;
}

static void
save_fpu(const struct space *space, uint8_t *fpu)
{
    struct software software = {MAGIC1, space->xsave_extended, space->xfeatures, space->xsave_size, {0}};
    uint32_t magic2 = MAGIC2;

    memset(fpu + LEGACY, 0, 64);
    __asm__ volatile("xsave64 (%0)" ::"r"(fpu), "a"((uint32_t)space->xfeatures), "d"((uint32_t)(space->xfeatures >> 32))
                     : "memory");
    memcpy(fpu + SOFTWARE, &software, sizeof software);
    memcpy(fpu + space->xsave_size, &magic2, sizeof magic2);
}

/* Give a context that came by a patched site a frame like the host's, FPU state included: it leaves by sigreturn. */
void
need_frame(struct context *c)
{
    uint64_t area = stack_of(c->r->channel, c->r->index);
    const struct space *space = c->r->space;

    if (c->uc)
        return;
    c->uc = (struct ucontext *)area;
    blank_ucontext(c->uc, c->r);
    if (!space->xsave_size || space->xsave_extended > FRAME_AREA - 512)
        die(); /* a site is only patched after traps, so it is known */
    save_fpu(space, (uint8_t *)area + 512);
    c->uc->flags |= 1; /* UC_FP_XSTATE */
    c->uc->mcontext.fpstate = area + 512;
}

static void
fill_frame(struct frame *frame, const struct context *c, const struct pysc_frame *wanted, uint64_t fpu)
{
    const struct pysc_registers *g = &c->regs;

    memset(frame, 0, sizeof *frame);
    frame->restorer = wanted->restorer;
    frame->uc.flags = fpu ? UC_FLAGS : UC_FLAGS & ~1UL;
    frame->uc.stack_sp = wanted->has_stack ? wanted->stack_sp : 0;
    frame->uc.stack_flags = wanted->has_stack ? wanted->stack_flags : 2; /* SS_DISABLE */
    frame->uc.stack_size = wanted->has_stack ? wanted->stack_size : 0;
    frame->uc.mcontext = (struct sigcontext_64){
        .r8 = g->r8, .r9 = g->r9, .r10 = g->r10, .r11 = g->r11, .r12 = g->r12, .r13 = g->r13, .r14 = g->r14, .r15 = g->r15,
        .rdi = g->rdi, .rsi = g->rsi, .rbp = g->rbp, .rbx = g->rbx, .rdx = g->rdx, .rax = g->rax, .rcx = g->rcx,
        .rsp = g->rsp, .rip = g->rip, .eflags = g->eflags, .cs = 0x33, .ss = 0x2b,
        .err = c->uc->mcontext.err, .trapno = c->uc->mcontext.trapno, .cr2 = c->uc->mcontext.cr2,
        .oldmask = wanted->mask, .fpstate = fpu,
    };
    frame->uc.sigmask = wanted->mask;
    memcpy(frame->info, wanted->info, sizeof frame->info);
}

/* Write the frame that the slot describes and set the registers to the handler's entry; -EFAULT: nothing is changed. */
int
build_frame(struct context *c)
{
    const struct pysc_frame wanted = c->r->slot->frame;
    uint8_t *fpu = (need_frame(c), (uint8_t *)c->uc->mcontext.fpstate);
    uint64_t sp = wanted.on_stack ? wanted.on_stack : c->regs.rsp - REDZONE;
    uint64_t fpu_at = 0;
    struct frame frame;

    if (fpu) {
        uint32_t size = fpu_size(fpu);

        fpu_at = (sp - size) & -64UL;
        if (!range_ok(fpu_at, size) || copy_bytes((void *)fpu_at, fpu, size) != 0)
            return -EFAULT;
        sp = fpu_at;
    }
    sp = ((sp - sizeof frame) & -16UL) - 8;
    fill_frame(&frame, c, &wanted, fpu_at);
    if (!range_ok(sp, sizeof frame) || copy_bytes((void *)sp, &frame, sizeof frame) != 0)
        return -EFAULT;
    if (fpu)
        reset_fpu(fpu);
    c->regs.rip = wanted.handler;
    c->regs.rsp = sp;
    c->regs.rax = 0;
    c->regs.rdi = (uint64_t)wanted.signo;
    c->regs.rsi = sp + offsetof(struct frame, info);
    c->regs.rdx = sp + offsetof(struct frame, uc);
    c->regs.eflags &= ~ENTRY_FLAGS;
    return 0;
}

/* Whether the guest's legacy area may be loaded: reserved MXCSR bits would be a #GP in the host's sigreturn. */
static int
legacy_ok(const uint8_t *fpu, uint32_t mask)
{
    uint32_t mxcsr;

    memcpy(&mxcsr, fpu + 24, 4);
    return (mxcsr & ~(mask ? mask : 0xffbfU)) == 0;
}

static int
header_ok(const uint8_t *header, uint64_t xfeatures)
{
    uint64_t words[8];

    memcpy(words, header, sizeof words);
    if (words[0] & ~xfeatures)
        return 0;
    for (int i = 1; i < 8; i++) {
        if (words[i])
            return 0;
    }
    return 1;
}

/* Load the guest's FPU state into the host's frame, which holds one as large as this CPU has. */
static int
take_fpu(uint8_t *fpu, uint64_t from)
{
    const struct software mine = *(const struct software *)(fpu + SOFTWARE);
    struct software theirs;
    uint8_t legacy[LEGACY];
    uint32_t mask, magic2 = 0;

    if (from == 0) {
        reset_fpu(fpu);
        return 0;
    }
    if ((from & 63) || !range_ok(from, LEGACY) || copy_bytes(legacy, (void *)from, LEGACY) != 0)
        return -EFAULT;
    memcpy(&theirs, legacy + SOFTWARE, sizeof theirs);
    memcpy(&mask, fpu + 28, 4);
    if (!legacy_ok(legacy, mask))
        return -EFAULT;
    memcpy(fpu, legacy, 28);
    memcpy(fpu + 32, legacy + 32, SOFTWARE - 32);
    if (mine.magic1 != MAGIC1)
        return 0;
    if (theirs.magic1 != MAGIC1 || theirs.xstate_size != mine.xstate_size || theirs.extended_size != mine.extended_size ||
        !range_ok(from, mine.extended_size) || copy_bytes(&magic2, (void *)(from + mine.xstate_size), 4) != 0 ||
        magic2 != MAGIC2) {
        const uint64_t legacy_only = 3;

        memset(fpu + LEGACY, 0, 64);
        memcpy(fpu + LEGACY, &legacy_only, 8);
        return 0;
    }
    if (copy_bytes(fpu + LEGACY, (void *)(from + LEGACY), mine.xstate_size - LEGACY) != 0 ||
        !header_ok(fpu + LEGACY, mine.xfeatures)) {
        memset(fpu + LEGACY, 0, 64); /* the host must still be able to load it */
        return -EFAULT;
    }
    return 0;
}

/* rt_sigreturn: take the frame below the guest's stack pointer.  args: mask and uc_stack.  -EFAULT: a bad frame. */
int
take_frame(struct context *c, uint64_t *args)
{
    struct ucontext uc;
    const struct sigcontext_64 *m = &uc.mcontext;

    if (!range_ok(c->regs.rsp, sizeof uc) || copy_bytes(&uc, (void *)c->regs.rsp, sizeof uc) != 0)
        return -EFAULT;
    if (c->uc->mcontext.fpstate && take_fpu((uint8_t *)c->uc->mcontext.fpstate, m->fpstate) != 0)
        return -EFAULT;
    c->regs = (struct pysc_registers){
        .rax = m->rax, .rbx = m->rbx, .rcx = m->rcx, .rdx = m->rdx, .rsi = m->rsi, .rdi = m->rdi,
        .rbp = m->rbp, .rsp = m->rsp, .r8 = m->r8,   .r9 = m->r9,   .r10 = m->r10, .r11 = m->r11,
        .r12 = m->r12, .r13 = m->r13, .r14 = m->r14, .r15 = m->r15, .rip = m->rip,
        .eflags = (c->regs.eflags & ~USER_FLAGS) | (m->eflags & USER_FLAGS),
        .fs_base = c->regs.fs_base,
    };
    args[0] = uc.sigmask;
    args[1] = uc.stack_sp;
    args[2] = uc.stack_flags;
    args[3] = uc.stack_size;
    return 0;
}
