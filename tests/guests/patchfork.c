/* Forks while another thread makes its first calls from hundreds of places, which are patched one by one: each child has
 * them whole, or finds out. */
#include "guest.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define SITES 300

/* How many of the sites answer with the process id. */
static long
call_all(void)
{
    long wrong = 0, pid = syscall(SYS_getpid);

    __asm__ volatile(".rept 300\n mov $39,%%eax\n syscall\n cmp %1,%%rax\n setne %%al\n movzx %%al,%%eax\n add %%rax,%0\n .endr"
                     : "+r"(wrong)
                     : "r"(pid)
                     : "rax", "rcx", "r11", "memory");
    return SITES - wrong;
}

static void *
call_often(void *right)
{
    for (int i = 0; i < 6; i++)
        *(long *)right += call_all();
    return NULL;
}

static int
run(void)
{
    pthread_t thread;
    long right = 0, good = 0;

    CHECK(pthread_create(&thread, NULL, call_often, &right) == 0);
    for (int i = 0; i < 5; i++) {
        int status;
        pid_t child = fork();

        if (child == 0)
            _exit(call_all() == SITES ? 7 : 1);
        CHECK(child > 0 && waitpid(child, &status, 0) == child);
        good += WIFEXITED(status) && WEXITSTATUS(status) == 7;
    }
    CHECK(pthread_join(thread, NULL) == 0);
    return right == 6 * SITES && good == 5;
}

int
main(void)
{
    int right = 0;

    for (int i = 0; i < 8; i++) {
        int status;
        pid_t child = fork();

        if (child == 0)
            _exit(run() ? 7 : 1);
        CHECK(child > 0 && waitpid(child, &status, 0) == child);
        right += WIFEXITED(status) && WEXITSTATUS(status) == 7;
    }
    printf("processes that are right: %d\n", right);
    puts("EXIT-SUCCESS");
    return 0;
}
