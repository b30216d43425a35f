/* Limits, identity of the system, scheduling and prctl: what programs ask at their start. */
#include "guest.h"
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

int main(void)
{
    struct rlimit limit;
    for (int i = 0; i < RLIM_NLIMITS; i++)
        CHECK(getrlimit(i, &limit) == 0 && limit.rlim_cur <= limit.rlim_max);
    TRY(getrlimit(RLIM_NLIMITS, &limit));
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 50;
    TRY(setrlimit(RLIMIT_NOFILE, &limit));
    TRY(sysconf(_SC_OPEN_MAX));
    limit.rlim_cur = limit.rlim_max + 1;
    TRY(limit.rlim_cur ? setrlimit(RLIMIT_NOFILE, &limit) : -1);
    struct rlimit old;
    TRY(prlimit(0, RLIMIT_CORE, &(struct rlimit){0}, &old));
    TRY(prlimit(12345678, RLIMIT_CORE, NULL, &old));
    reap(CHILD(getrlimit(RLIMIT_NOFILE, &limit); say("inherited %ld\n", (long)limit.rlim_cur)));
    struct utsname name;
    CHECK(uname(&name) == 0);
    say("%s %s, release %d, node %d, version %d\n", name.sysname, name.machine, atoi(name.release) >= 4, name.nodename[0] != 0, name.version[0] == '#');
    struct sysinfo info;
    CHECK(sysinfo(&info) == 0 && info.uptime >= 0 && info.totalram > 0 && info.freeram <= info.totalram && info.mem_unit > 0 && info.procs > 0);
    cpu_set_t cpus;
    CHECK(sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) > 0);
    CHECK(sched_setaffinity(0, sizeof cpus, &cpus) == 0 && sysconf(_SC_NPROCESSORS_ONLN) > 0 && sched_getcpu() >= 0);
    TRY(sched_getscheduler(0));
    TRY(sched_get_priority_max(SCHED_FIFO));
    TRY(sched_yield());
    errno = 0;
    TRY(getpriority(PRIO_PROCESS, 0));
    TRY(setpriority(PRIO_PROCESS, 0, 5));
    TRY(getpriority(PRIO_PROCESS, 0));
    TRY(getpriority(99, 0));
    char comm[16] = {0};
    TRY(prctl(PR_SET_NAME, "a name that is too long"));
    TRY(prctl(PR_GET_NAME, comm));
    say("%s\n", comm);
    TRY(prctl(PR_GET_DUMPABLE));
    TRY(prctl(PR_SET_DUMPABLE, 2));
    int signal = 9;
    TRY(prctl(PR_SET_PDEATHSIG, SIGUSR1));
    TRY(prctl(PR_GET_PDEATHSIG, &signal));
    say("pdeathsig %d\n", signal);
    reap(CHILD(prctl(PR_GET_PDEATHSIG, &signal); say("in a child %d\n", signal)));
    TRY(prctl(PR_SET_PDEATHSIG, 99));
    TRY(prctl(PR_GET_TSC, &signal));
    say("tsc %d\n", signal);
    TRY(prctl(PR_SET_TSC, PR_TSC_ENABLE));
    TRY(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
    TRY(prctl(PR_MCE_KILL_GET, 1, 0, 0, 0));
    TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    TRY(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    TRY(prctl(PR_GET_NO_NEW_PRIVS, 1, 0, 0, 0));
    TRY(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    TRY(prctl(PR_GET_SPECULATION_CTRL, 0, 0, 0, 1));
    TRY(prctl(PR_SET_TIMERSLACK, 70000));
    reap(CHILD(TRY(prctl(PR_SET_TIMERSLACK, 80000)); TRY(prctl(PR_SET_TIMERSLACK, 0)); TRY(prctl(PR_GET_TIMERSLACK))));
    TRY(prctl(PR_SET_TIMERSLACK, 0));
    TRY(prctl(PR_GET_TIMERSLACK));
    TRY(prctl(PR_CAPBSET_READ, 999));
    TRY(prctl(12345, 1, 2, 3, 4));
    TRY(personality(0xffffffff));
    TRY(personality(UNAME26 | PER_LINUX32));
    TRY(personality(0xffffffff));
    CHECK(uname(&name) == 0);
    say("%s, release %d\n", name.machine, strncmp(name.release, "2.6.", 4) == 0);
    reap(CHILD(TRY(personality(PER_LINUX))));
    TRY(personality(PER_LINUX));
    CHECK(getpid() > 0 && getppid() >= 0 && gettid() == getpid() && getpgrp() > 0 && getsid(0) > 0);
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0 && usage.ru_maxrss > 0);
    TRY(getrusage(99, &usage));
    return done();
}
