/* The guest half's rt_sigprocmask, on which a signal comes at each moment that it can. */
#include "../../fuzz/check.h"
#include "guest.h"

#define SENTRYS (1UL << 63)

static struct pysc_slot slot;
static int copies, comes_at;

/* A copy; the sentry has a signal for the thread meanwhile. */
uint64_t
copy_bytes(void *to, const void *from, uint64_t size)
{
    memcpy(to, from, size);
    if (++copies == comes_at)
        slot.quiet = 0;
    return 0;
}

int run_native(struct context *c, long nr, const uint64_t *args) { return c && args && nr < 0; }
void serve(struct context *c) { c->nr = 0; }
long memory_call(struct space *space, long nr, const uint64_t *args) { return space && args && nr < 0; }
int64_t move_heap(struct context *c, uint64_t end) { return c ? (int64_t)end : 0; }
int64_t futex_wake_op(const uint64_t *args) { return args != NULL; }
int read_lent(struct context *c, const uint64_t *args) { return c && args && 0; }

/* Returns the call's result, or SENTRYS: it is the sentry's.  `before` is the mask, `at` the copy. */
static uint64_t
sigprocmask(uint64_t before, int at, uint64_t how, const uint64_t *new, uint64_t *old)
{
    struct record record = {.slot = &slot};
    struct context c = {.r = &record};
    const uint64_t args[6] = {how, (uint64_t)new, (uint64_t)old, 8};

    copies = 0, comes_at = at;
    slot.quiet = at != 0;
    slot.sigmask = before;
    return answer_natively(&c, __NR_rt_sigprocmask, args) ? c.regs.rax : SENTRYS;
}

int
main(void)
{
    const uint64_t signals = 12 | 1 << 8 | 1 << 18; /* SIGKILL and SIGSTOP are among them */
    const uint64_t masks[] = {14, 2, 12};           /* what is made of 6 */
    const int never = 9;

    for (uint64_t how = 0; how < 3; how++) {
        uint64_t old = 99;

        CHECK(sigprocmask(6, never, how, &signals, &old) == 0 && old == 6 && slot.sigmask == masks[how]);
        /* It came before: nothing has happened. */
        CHECK(sigprocmask(6, 0, how, &signals, &old) == SENTRYS && slot.sigmask == 6);
        /* It came after the first look, and who sent it may have seen either mask: the call is begun again elsewhere. */
        CHECK(sigprocmask(6, 1, how, &signals, &old) == SENTRYS && slot.sigmask == 6);
        /* It came after the change, and its sender saw that. */
        CHECK(sigprocmask(6, 2, how, &signals, &old) == 0 && slot.sigmask == masks[how]);
    }
    CHECK(sigprocmask(6, never, 3, &signals, NULL) == (uint64_t)-EINVAL && slot.sigmask == 6);
    CHECK(sigprocmask(6, never, 3, NULL, NULL) == 0);
    CHECK(sigprocmask(6, never, 0, (uint64_t *)8, NULL) == (uint64_t)-EFAULT && slot.sigmask == 6);
    CHECK(sigprocmask(6, never, 0, &signals, (uint64_t *)8) == (uint64_t)-EFAULT && slot.sigmask == 14);
    puts("done");
}
