/* A signal that comes while its thread changes its mask is delivered when it is unblocked, without another call to help.
 *
 * The mask changes at about the time that the last such signal took to be sent.  The moment in which one could be lost is
 * so short that this meets it once in many thousand rounds; tests/unit/platform/native.c is in it each time. */
#include "guest.h"

enum { ROUNDS = 300 };
static volatile int begun, hits;
static volatile int64_t began, took[2]; /* by kind of signal */

static void hit(int signal UNUSED) { hits++; }

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000L + time.tv_nsec;
}

static void *victim(void *argument UNUSED)
{
    sigset_t signals = set_of(SIGUSR1);
    sigaddset(&signals, SIGUSR2);
    for (int round = 1; round <= ROUNDS; round++) {
        pthread_sigmask(SIG_BLOCK, &signals, NULL);
        int64_t until = took[round % 2] * (20 + round * 37 % 90) / 100 + (began = now());
        begun = round;
        while (now() < until)
            ;
        pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
        while (hits < round)
            sched_yield(); /* the guest half's own: nobody looks for signals */
    }
    return NULL;
}

int main(void)
{
    pthread_t thread;
    sigset_t usr2 = set_of(SIGUSR2);
    handle(SIGUSR1, 0, hit);
    handle(SIGUSR2, 0, hit);
    pthread_sigmask(SIG_BLOCK, &usr2, NULL);
    CHECK(pthread_create(&thread, NULL, victim, NULL) == 0);
    for (int round = 1; round <= ROUNDS; round++) {
        while (begun < round)
            sched_yield();
        if (round % 2)
            pthread_kill(thread, SIGUSR1);
        else
            kill(getpid(), SIGUSR2);
        took[round % 2] = now() - began;
        while (hits < round)
            sched_yield();
    }
    pthread_join(thread, NULL);
    say("%d rounds, %d hits\n", ROUNDS, hits);
    return done();
}
