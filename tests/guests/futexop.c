/* FUTEX_WAKE_OP: each operation and comparison, whom it wakes, within a process and across, and its errors. */
#include "guest.h"
#include <linux/futex.h>

struct pair {
    uint32_t first, second;
};

static struct pair *pair;
static int private;

static long wake_op(uint32_t *first, uint32_t *second, uint32_t wake, long wake2, uint32_t operation)
{
    return syscall(SYS_futex, first, FUTEX_WAKE_OP | private, wake, wake2, second, operation);
}

static void operations(void)
{
    static const uint32_t values[] = {0, 5, 0x80000000, 0xffffffff};
    for (uint32_t op = 0; op < 16; op++)
        for (int i = 0; i < COUNT(values); i++) {
            uint32_t word = 0, other = values[i];
            long result = wake_op(&word, &other, 1, 1, FUTEX_OP(op, 0x805, FUTEX_OP_CMP_EQ, 0));
            say("operation %u on %x: %s, then %x %x\n", op, values[i], result < 0 ? strerrorname_np(errno) : "ok", word, other);
        }
}

static void *wait_on(void *word)
{
    while (syscall(SYS_futex, word, FUTEX_WAIT | private, *(uint32_t *)word, NULL, NULL, 0) != 0 && errno == EINTR)
        ;
    return NULL;
}

static long moved(uint32_t *from, uint32_t *to)
{
    return syscall(SYS_futex, from, FUTEX_CMP_REQUEUE | private, 0, 1L, to, 0);
}

/* Until it stays there: the host begins a wait again, where that began, when it is woken for what the thread had slept on
 * before, as a new thread may have. */
static void move(uint32_t *from, uint32_t *to)
{
    while (moved(from, to) != 1)
        sched_yield();
    do
        nap(1);
    while (moved(from, to) == 1);
}

/* A comparison shows in whether it wakes who waits on the second word: moved there, so it certainly waits. */
static void comparisons(void)
{
    static const int values[] = {-3, 0, 3};
    for (uint32_t how = 0; how < 7; how++)
        for (int i = 0; i < COUNT(values); i++) {
            uint32_t word = 0, before = 0, other = (uint32_t)values[i];
            pthread_t thread;
            pthread_create(&thread, NULL, wait_on, &before);
            move(&before, &other);
            long woken = wake_op(&word, &other, 1, 1, FUTEX_OP(FUTEX_OP_ADD, 0, how, 0));
            say("comparison %u of %d: %ld %s\n", how, values[i], woken, woken < 0 ? strerrorname_np(errno) : "");
            if (woken <= 0)
                CHECK(syscall(SYS_futex, &other, FUTEX_WAKE | private, 1, NULL, NULL, 0) == 1);
            pthread_join(thread, NULL);
        }
}

static void *child_of(void *word)
{
    wait_on(word);
    return NULL;
}

static void both(void)
{
    pthread_t threads[4];
    long woken = 0;
    pair->first = pair->second = 7;
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, child_of, i & 1 ? &pair->first : &pair->second);
    while (woken < 4) {
        long now = wake_op(&pair->first, &pair->second, 1, 1, FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 7));
        CHECK(now >= 0 && now <= 2);
        woken += now;
        if (now == 0)
            nap(1);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    say("woken on both: %ld\n", woken);
}

static void across(void)
{
    pid_t child = CHILD(wait_on(&pair->second));
    long woken;
    while ((woken = wake_op(&pair->first, &pair->second, 1, 1, FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_GT, 0))) == 0)
        nap(1);
    say("across processes: %ld %d\n", woken, reap(child));
}

static void errors(void)
{
    static const uint32_t constant = 1;
    uint32_t word = 0, set = FUTEX_OP(FUTEX_OP_SET, 1, FUTEX_OP_CMP_EQ, 0);
    uint32_t *odd = (uint32_t *)((char *)&word + 1), *bad = BAD, *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TRY(wake_op(odd, &word, 1, 1, set));
    TRY(wake_op(&word, odd, 1, 1, set));
    TRY(wake_op(&word, bad, 1, 1, set));
    TRY(wake_op(&word, none, 1, 1, set));
    TRY(wake_op(none, &word, 1, 1, set));
    TRY(wake_op(&word, (uint32_t *)&constant, 1, 1, set));
    TRY(wake_op((uint32_t *)-4096, &word, 1, 1, set));
    TRY(syscall(SYS_futex, &word, FUTEX_WAKE_OP | FUTEX_CLOCK_REALTIME | private, 1, 1, &word, set));
    say("left: %u\n", word);
}

int main(void)
{
    pair = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (private = 0; private <= FUTEX_PRIVATE_FLAG; private += FUTEX_PRIVATE_FLAG) {
        say("private: %d\n", private);
        operations();
        comparisons();
        both();
        errors();
    }
    private = 0;
    across();
    return done();
}
