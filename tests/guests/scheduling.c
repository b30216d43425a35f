/* sched(7), nice(2), ioprio_set(2): what is set is shown, and inherited; whose tasks one may change. */
#include "guest.h"
#include <grp.h>
#include <sys/resource.h>

#define IO_PROCESS 1
#define IO_GROUP 2
#define IO(class, level) ((class) << 13 | (level))
#define RESET_ON_FORK 0x40000000
#define KEEP_ALL 0x18

struct attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t times[3], more;
};

static long policy(void) { return syscall(SYS_sched_getscheduler, 0); }
static long set_policy(pid_t pid, int policy, int priority) { return syscall(SYS_sched_setscheduler, pid, policy, &priority); }
static long io(int which, pid_t who) { return syscall(SYS_ioprio_get, which, who); }
static long set_io(int which, pid_t who, int value) { return syscall(SYS_ioprio_set, which, who, value); }
static long set_attr(const struct attr *attr, int flags) { return syscall(SYS_sched_setattr, 0, attr, flags); }

static int cpus(void)
{
    cpu_set_t set;
    CHECK(sched_getaffinity(0, sizeof set, &set) == 0);
    return CPU_COUNT(&set);
}

static void others(pid_t parent)
{
    cpu_set_t set;
    CHECK(sched_getaffinity(0, sizeof set, &set) == 0 && setgroups(0, NULL) == 0);
    CHECK(setresgid(1000, 1000, 1000) == 0 && setresuid(1000, 1000, 1000) == 0);
    TRY(sched_setaffinity(parent, sizeof set, &set));
    TRY(set_policy(parent, SCHED_OTHER, 0));
    TRY(set_io(IO_PROCESS, parent, IO(2, 4)));
    TRY(setpriority(PRIO_PROCESS, parent, 10));
    TRY(sched_setaffinity(0, sizeof set, &set));
    TRY(set_policy(0, SCHED_BATCH, 0));
    TRY(set_policy(0, SCHED_IDLE, 0));
    TRY(set_policy(0, SCHED_OTHER, 0)); /* RLIMIT_NICE says no */
    TRY(set_policy(0, SCHED_FIFO, 1));
    TRY(set_io(IO_PROCESS, 0, IO(2, 4)));
    TRY(set_io(IO_PROCESS, 0, IO(1, 4)));
    TRY(setpriority(PRIO_PROCESS, 0, 10));
    TRY(setpriority(PRIO_PROCESS, 0, 9));
    TRY(getpriority(PRIO_PROCESS, 0));
}

int main(void)
{
    if (geteuid() != 0)
        skip("needs root");
    cpu_set_t all, one;
    CHECK(sched_getaffinity(0, sizeof all, &all) == 0);
    CPU_ZERO(&one);
    for (int i = CPU_SETSIZE - 1; CPU_COUNT(&one) == 0; i--) /* the last one */
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    TRY(sched_setaffinity(0, sizeof one, &one));
    unsigned cpu;
    CHECK(syscall(SYS_getcpu, &cpu, NULL, NULL) == 0 && CPU_ISSET(cpu, &one));
    reap(CHILD(say("one processor, %d in a child\n", cpus())));
    TRY(syscall(SYS_sched_setaffinity, 0, 8, &(uint64_t){0}));
    TRY(syscall(SYS_sched_setaffinity, -1, 8, &one));
    TRY(syscall(SYS_sched_setaffinity, 0, 8, BAD));
    CHECK(sched_setaffinity(0, sizeof all, &all) == 0 && cpus() == CPU_COUNT(&all));

    TRY(set_policy(0, SCHED_BATCH, 0));
    TRY(policy());
    reap(CHILD(TRY(policy())));
    TRY(set_policy(0, SCHED_BATCH, 1));
    TRY(set_policy(0, SCHED_FIFO, 0));
    TRY(set_policy(0, 77, 0));
    TRY(set_policy(0, -1, 0));
    TRY(set_policy(-1, SCHED_OTHER, 0));
    TRY(set_policy(12345678, SCHED_OTHER, 0));
    TRY(syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, NULL));
    TRY(syscall(SYS_sched_setparam, 0, NULL));
    TRY(syscall(SYS_sched_setparam, 0, &(int){0}));
    TRY(syscall(SYS_sched_getparam, 0, NULL));
    TRY(policy());
    CHECK(setpriority(PRIO_PROCESS, 0, -5) == 0);
    TRY(set_policy(0, SCHED_IDLE | RESET_ON_FORK, 0));
    TRY(policy());
    reap(CHILD(TRY(policy()); TRY(getpriority(PRIO_PROCESS, 0))));
    TRY(set_policy(0, SCHED_OTHER, 0));
    TRY(sched_get_priority_max(6));

    struct attr attr = {.size = 48, .policy = SCHED_BATCH, .nice = 3};
    TRY(set_attr(&attr, 0));
    attr = (struct attr){.size = 48, .flags = KEEP_ALL | 1};
    TRY(set_attr(&attr, 0));
    memset(&attr, 1, sizeof attr);
    TRY(syscall(SYS_sched_getattr, 0, &attr, 48, 0));
    say("policy %d flags %d nice %d priority %d\n", attr.policy, (int)attr.flags, attr.nice, attr.priority);
    TRY(set_attr(&(struct attr){.size = 48, .policy = SCHED_OTHER}, 0));
    TRY(set_attr(&(struct attr){.size = 47}, 0));
    TRY(set_attr(NULL, 0));
    TRY(set_attr(&attr, 1));
    TRY(set_attr(&(struct attr){.size = 48, .policy = 6}, 0));
    TRY(syscall(SYS_sched_getattr, 0, NULL, 48, 0));
    TRY(syscall(SYS_sched_getattr, 0, &attr, 47, 0));
    TRY(syscall(SYS_sched_getattr, 0, &attr, 48, 1));

    TRY(set_io(IO_PROCESS, 0, IO(2, 3)));
    TRY(io(IO_PROCESS, 0));
    reap(CHILD(setpgid(0, 0); TRY(io(IO_PROCESS, 0)); TRY(io(IO_GROUP, 0))));
    TRY(set_io(IO_PROCESS, 0, IO(3, 0)));
    TRY(io(IO_PROCESS, getpid()));
    TRY(set_io(IO_PROCESS, 0, IO(0, 3)));
    TRY(set_io(IO_PROCESS, 0, IO(0, 0)));
    TRY(io(IO_PROCESS, 0));
    TRY(set_io(IO_PROCESS, 0, IO(5, 0)));
    TRY(set_io(IO_PROCESS, 12345678, IO(2, 0)));
    TRY(io(IO_PROCESS, 12345678));
    TRY(io(9, 0));

    pid_t parent = getpid();
    CHECK(reap(CHILD(others(parent))) == 0);
    return done();
}
