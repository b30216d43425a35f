/* Threads call through sites while these are patched, and are shot at with signals; forks and reloads of the text. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHECK(x) do { if (!(x)) { printf("failed: %s\n", #x); exit(1); } } while (0)
#define SITES 200
#define THREADS 3

__asm__(".text\n.balign 4096\nsites:\n"
        ".rept 200\n"
        ".balign 64\n nop\n mov $186, %eax\n syscall\n ret\n nop\n"
        ".balign 32\n mov $186, %eax\n xchg %ax, %ax\n syscall\n cmp $-4096, %rax\n ja 1f\n ret\n1: ret\n"
        ".balign 64\n"
        ".endr\n");
extern char sites[];
static pthread_barrier_t barrier;
static volatile int signals, stop;
static __thread volatile int mine;

static void
on_signal(int signo)
{
    (void)signo;
    signals++;
    mine++;
    syscall(SYS_getuid);
}

static long
call(int i, int form)
{
    long result;

    __asm__ volatile("call *%1" : "=a"(result) : "r"(sites + i * 64 + form * 32) : "rcx", "r11", "memory", "cc");
    return result;
}

static void *
work(void *argument)
{
    long tid = syscall(SYS_gettid);

    for (int i = 0; i < SITES; i++) {
        pthread_barrier_wait(&barrier);
        for (int n = 0; n < 12; n++) {
            CHECK(call(i, 0) == tid);
            CHECK(call(i, 1) == tid);
        }
    }
    return argument;
}

static void *
shoot(void *argument)
{
    pthread_t *threads = argument;

    while (!stop) {
        for (int i = 0; i < THREADS; i++)
            syscall(SYS_tgkill, getpid(), ((int *)threads[i])[180], SIGUSR1);
        usleep(500);
    }
    return NULL;
}

int
main(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    pthread_t threads[THREADS], shooter;

    sigaction(SIGUSR1, &action, NULL);
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (long i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, work, NULL);
    pthread_create(&shooter, NULL, shoot, threads); /* the tid's place in glibc's struct pthread is 720 */
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    stop = 1;
    pthread_join(shooter, NULL);
    if (fork() == 0)
        _exit(call(3, 0) == syscall(SYS_gettid) ? 0 : 9);
    puts("EXIT-SUCCESS");
    return 0;
}
