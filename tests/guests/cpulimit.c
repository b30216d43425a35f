/* RLIMIT_CPU: SIGXCPU at the soft limit and again, SIGKILL at the hard one; inherited by fork, kept by exec. */
#include "guest.h"
#include <sys/resource.h>

static volatile int told;
static void tell(int signal UNUSED) { told++; }

static void burn(void)
{
    for (volatile unsigned turns = 0;; turns++)
        ;
}

static void limit(unsigned long soft, unsigned long hard)
{
    CHECK(setrlimit(RLIMIT_CPU, &(struct rlimit){soft, hard}) == 0);
}

static void *until_told(void *argument UNUSED)
{
    while (!told)
        ;
    return NULL;
}

static void show(void)
{
    struct rlimit now;
    pthread_t thread;
    handle(SIGXCPU, 0, tell);
    limit(1, 30);
    pthread_create(&thread, NULL, until_told, NULL); /* all threads count */
    until_told(NULL);
    pthread_join(thread, NULL);
    getrlimit(RLIMIT_CPU, &now);
    say("told %d, limits are now %ld %ld\n", told, (long)now.rlim_cur, (long)now.rlim_max);
}

int main(int argc, char **argv UNUSED)
{
    if (argc > 1)
        burn();
    int status = reap(CHILD(show()));
    CHECK(status == 0);
    int limited = reap(CHILD(limit(1, 2); burn()));
    say("at the soft limit: %d\n", limited);
    limit(1, 1);
    pid_t ignorant = CHILD(signal(SIGXCPU, SIG_IGN); burn());
    pid_t program = CHILD(signal(SIGXCPU, SIG_DFL); execl("/proc/self/exe", "cpulimit", "burn", NULL));
    int first = reap(ignorant), second = reap(program);
    say("at the hard limit: %d, inherited and kept by exec: %d\n", first, second == -SIGXCPU || second == -SIGKILL);
    return done();
}
