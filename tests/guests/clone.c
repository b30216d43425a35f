/* Raw clone: what CLONE_FILES, CLONE_FS, CLONE_VM and the tid flags share and write; combinations that are refused. */
#include "guest.h"
#include <linux/futex.h>
#include <linux/sched.h>

static char stack[65536] __attribute__((aligned(16)));
static volatile int shared;
static volatile int parent_tid, child_tid;

static int set_shared(void *argument)
{
    shared = (int)(long)argument;
    return 4;
}

static int close_three(void *argument UNUSED) { return close(9); }
static int go_root(void *argument UNUSED) { return chdir("/") != 0 || umask(077) == 0; }

int main(void)
{
    char *top = stack + sizeof stack;
    pid_t child = clone(set_shared, top, CLONE_VM | SIGCHLD, (void *)7);
    CHECK(child > 0 && reap(child) == 4);
    say("CLONE_VM: %d\n", shared);
    child = clone(set_shared, top, SIGCHLD, (void *)8);
    CHECK(reap(child) == 4);
    say("without: %d\n", shared);
    CHECK(dup2(1, 9) == 9);
    CHECK(reap(clone(close_three, top, CLONE_FILES | SIGCHLD, NULL)) == 0);
    TRY(close(9));
    scratch();
    umask(022);
    CHECK(reap(clone(go_root, top, CLONE_FS | SIGCHLD, NULL)) == 0);
    char path[100];
    say("CLONE_FS: cwd %s, umask %o\n", getcwd(path, sizeof path), umask(022));
    child = clone(set_shared, top, CLONE_VM | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD, (void *)9, &parent_tid,
                  NULL, &child_tid);
    CHECK(parent_tid == child);
    child_tid = child_tid ? child_tid : 0;
    CHECK(reap(child) == 4);
    say("cleared: %d\n", child_tid);
    struct clone_args args = {.flags = CLONE_PARENT_SETTID, .exit_signal = SIGCHLD, .parent_tid = (uintptr_t)&parent_tid};
    child = syscall(SYS_clone3, &args, sizeof args);
    if (child == 0)
        _exit(3);
    CHECK(parent_tid == child);
    say("clone3: %d\n", reap(child));
    TRY(syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, 0, 0, 0, 0));
    TRY(syscall(SYS_clone, CLONE_THREAD | SIGCHLD, 0, 0, 0, 0));
    TRY(syscall(SYS_clone, CLONE_FS | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0));
    args.exit_signal = 999;
    TRY(syscall(SYS_clone3, &args, sizeof args));
    TRY(syscall(SYS_clone3, &args, 8));
    child = syscall(SYS_clone, 0, 0, 0, 0, 0); /* no signal at its end: only __WALL or __WCLONE sees it */
    if (child == 0)
        _exit(2);
    int status;
    TRY(waitpid(child, &status, 0));
    CHECK(waitpid(child, &status, __WALL) == child);
    say("with __WALL: %d\n", WEXITSTATUS(status));
    return done();
}
