/* Alternate stacks: where handlers run, what a stack overflow does, and what sigaltstack refuses. */
#include "guest.h"
#include <setjmp.h>

static char stack[65536] __attribute__((aligned(16)));
static sigjmp_buf back;
static int where;

static int on_stack(void)
{
    char here;
    return &here >= stack && &here < stack + sizeof stack;
}

static void note(int signal UNUSED)
{
    stack_t now;
    sigaltstack(NULL, &now);
    where = on_stack() | now.ss_flags << 1;
    if (on_stack())
        TRY(sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL));
}

static void escape(int signal UNUSED)
{
    CHECK(on_stack());
    siglongjmp(back, 1);
}

static int __attribute__((noinline)) overflow(int depth)
{
    volatile char frame[4096];
    frame[0] = depth;
    return depth < 0 ? 0 : overflow(depth + 1) + frame[0];
}

int main(void)
{
    stack_t old;
    sigaltstack(NULL, &old);
    CHECK(old.ss_flags == SS_DISABLE);
    stack_t mine = {.ss_sp = stack, .ss_size = sizeof stack};
    TRY(sigaltstack(&mine, NULL));
    handle(SIGUSR1, SA_ONSTACK, note);
    raise(SIGUSR1);
    say("SA_ONSTACK: on it %d, flags %d\n", where & 1, where >> 1);
    handle(SIGUSR1, 0, note);
    raise(SIGUSR1);
    say("without: on it %d, flags %d\n", where & 1, where >> 1);
    handle(SIGSEGV, SA_ONSTACK, escape);
    for (volatile int i = 0; i < 3; i++)
        if (sigsetjmp(back, 1) == 0)
            overflow(1);
        else
            say("stack overflow %d survived\n", i);
    TRY(sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = 100}, NULL));
    TRY(sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack, .ss_flags = 77}, NULL));
    TRY(sigaltstack((stack_t *)8, NULL));
    TRY(sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, &old));
    CHECK(old.ss_sp == stack && old.ss_size == sizeof stack && old.ss_flags == 0);
    pid_t child = CHILD(handle(SIGSEGV, SA_ONSTACK, SIG_DFL); overflow(1));
    say("without a stack or handler: %d\n", reap(child));
    return done();
}
