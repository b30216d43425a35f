/* exec from a thread that is not the leader: the others end, the pid stays, the thread becomes the leader. */
#include "guest.h"

static char before[32];
static char *program;

static void *spin(void *argument UNUSED)
{
    for (;;)
        getppid();
    return NULL;
}

static void *sleeper(void *argument UNUSED)
{
    for (;;)
        pause();
    return NULL;
}

static void *nothing(void *argument) { return argument; }

static void *jump(void *argument UNUSED)
{
    CHECK(gettid() != getpid());
    execl("/proc/self/exe", program, before, NULL);
    CHECK(!"exec");
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        say("same pid %d, leader %d\n", atoi(argv[1]) == getpid(), gettid() == getpid());
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, nothing, NULL) == 0);
        pthread_join(thread, NULL);
        return done();
    }
    program = argv[0];
    snprintf(before, sizeof before, "%d", getpid());
    pthread_t thread;
    for (int i = 0; i < 5; i++) {
        pthread_create(&thread, NULL, spin, NULL);
        pthread_create(&thread, NULL, sleeper, NULL);
    }
    nap(10);
    pthread_create(&thread, NULL, jump, NULL);
    sleeper(NULL);
}
