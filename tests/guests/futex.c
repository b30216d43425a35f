/* Futexes by hand: wake, timeouts, requeue, bitsets, interruption, and the errors of each. */
#include "guest.h"
#include <linux/futex.h>

static uint32_t word, other;
static volatile int woken, ticks;
static void tick(int signal UNUSED) { ticks++; }

static long futex(uint32_t *at, int op, uint32_t value, const void *timeout, uint32_t *second, uint32_t third)
{
    return syscall(SYS_futex, at, op | FUTEX_PRIVATE_FLAG, value, timeout, second, third);
}

static void *sleeper(void *argument UNUSED)
{
    while (futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0) != 0)
        CHECK(errno == EINTR);
    __atomic_fetch_add(&woken, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* Wait until /proc says that a thread sleeps. */
static void see_sleeping(pid_t pid)
{
    char path[40], text[400] = {0};
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    for (double end = seconds() + 10;;) {
        int fd = open(path, O_RDONLY);
        CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0 && close(fd) == 0);
        if (strrchr(text, ')')[2] == 'S')
            return;
        CHECK(seconds() < end);
        nap(1);
    }
}

/* A wait that is stopped and continued shortly before its end ends when it would have, not as long after that. */
static void stop_and_continue(void)
{
    double start = seconds();
    pid_t child = CHILD({
        CHECK(futex(&word, FUTEX_WAIT, word, &(struct timespec){1, 0}, NULL, 0) == -1 && errno == ETIMEDOUT);
        _exit(seconds() - start < 1.6 ? 7 : 1);
    });
    nap(800);
    kill(child, SIGSTOP);
    nap(5);
    kill(child, SIGCONT);
    say("stopped on its way: %d\n", reap(child));
}

int main(void)
{
    struct timespec soon = {0, 30000000}, past = {1, 0}, bad = {0, 1000000000};
    TRY(futex(&word, FUTEX_WAIT, 1, NULL, NULL, 0));
    double start = seconds();
    TRY(futex(&word, FUTEX_WAIT, 0, &soon, NULL, 0));
    CHECK(seconds() - start >= 0.03);
    TRY(futex(&word, FUTEX_WAIT_BITSET, 0, &past, NULL, 1));
    TRY(futex(&word, FUTEX_WAIT_BITSET, 0, &past, NULL, 0));
    TRY(futex(&word, FUTEX_WAIT, 0, &bad, NULL, 0));
    TRY(futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0));
    TRY(futex((uint32_t *)((char *)&word + 1), FUTEX_WAIT, 0, NULL, NULL, 0));
    TRY(futex((uint32_t *)8, FUTEX_WAIT, 0, NULL, NULL, 0));
    TRY(futex(&word, FUTEX_WAIT, 0, (void *)8, NULL, 0));
    TRY(futex(&word, 99, 0, NULL, NULL, 0));
    TRY(futex(&word, FUTEX_WAIT | FUTEX_CLOCK_REALTIME, 1, NULL, NULL, 0));
    pthread_t thread[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&thread[i], NULL, sleeper, NULL);
    long moved = 0;
    TRY(futex(&word, FUTEX_CMP_REQUEUE, 0, (void *)4, &other, 5));
    while (futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0) != 1) /* until the first sleeps */
        nap(1);
    while (moved < 3) /* move the rest, as they come */
        moved += futex(&word, FUTEX_CMP_REQUEUE, 0, (void *)4, &other, 0);
    for (int left = 3; left > 0; left -= futex(&other, FUTEX_WAKE, 1, NULL, NULL, 0))
        futex(&word, FUTEX_CMP_REQUEUE, 0, (void *)4, &other, 0); /* who has come back: see futexop.c */
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    say("woken %d\n", woken);
    handle(SIGALRM, 0, tick);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 20000}, {0, 20000}}, NULL);
    TRY(futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0));
    handle(SIGALRM, SA_RESTART, tick);
    int before = ticks;
    struct timespec hundred = {0, 100000000};
    TRY(futex(&word, FUTEX_WAIT, 0, &hundred, NULL, 0)); /* with a timeout: EINTR or the rest of it, by SA_RESTART */
    CHECK(ticks > before);
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    uint32_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = CHILD(while (*(volatile uint32_t *)shared == 0) syscall(SYS_futex, shared, FUTEX_WAIT, 0, NULL, NULL, 0));
    see_sleeping(child);
    *(volatile uint32_t *)shared = 1;
    CHECK(syscall(SYS_futex, shared, FUTEX_WAKE, 1, NULL, NULL, 0) >= 0);
    say("across processes: %d\n", reap(child));
    stop_and_continue();
    return done();
}
