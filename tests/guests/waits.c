/* wait4 and waitid: which children, WNOHANG, WNOWAIT, stops and continuations, groups, rusage, errors. */
#include "guest.h"
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define LARGE (48 << 20)

/* Have much memory for a moment. */
static void swell(void)
{
    char *memory = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    memset(memory, 1, LARGE);
    munmap(memory, LARGE);
}

static long peak_of_children(void)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_CHILDREN, &usage) == 0);
    return usage.ru_maxrss;
}

/* The largest resident set is of any time, of any program, and a child's children's as soon as it has waited for them. */
static void peaks(void)
{
    int status;
    struct rusage usage;
    char *const again[] = {"/proc/self/exe", "again", NULL};
    CHECK(peak_of_children() < LARGE >> 10);
    pid_t child = CHILD(swell());
    CHECK(wait4(child, &status, 0, &usage) == child && status == 0);
    say("a child's peak: %d\n", usage.ru_maxrss >= LARGE >> 10);
    child = CHILD(swell(); execv(again[0], again));
    CHECK(wait4(child, &status, 0, &usage) == child && status == 0);
    say("of the program before: %d\n", usage.ru_maxrss >= LARGE >> 10);
    child = CHILD(pid_t of = CHILD(swell()); CHECK(waitpid(of, &status, 0) == of));
    CHECK(wait4(child, &status, 0, &usage) == child && status == 0);
    say("of a child's child: %d\n", usage.ru_maxrss >= LARGE >> 10);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    child = CHILD(CHILD(swell()));
    CHECK(wait4(child, &status, 0, &usage) == child && status == 0);
    say("of one that it has not waited for: %d\n", usage.ru_maxrss >= LARGE >> 10);
    CHECK(wait(&status) > 0 && prctl(PR_SET_CHILD_SUBREAPER, 0) == 0);
    say("all children's: %d\n", peak_of_children() >= LARGE >> 10);
    child = CHILD(CHECK(peak_of_children() == 0); pid_t of = CHILD(swell()); CHECK(waitpid(of, &status, 0) == of);
                  CHECK(peak_of_children() >= LARGE >> 10));
    CHECK(waitpid(child, &status, 0) == child);
    say("asked for at once: %d\n", status);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return strcmp(argv[1], "again");
    peaks();
    int status;
    siginfo_t info;
    struct rusage usage;
    TRY(wait(&status));
    pid_t child = CHILD(pause());
    TRY(waitpid(child, &status, WNOHANG));
    memset(&info, 1, sizeof info);
    TRY(waitid(P_PID, child, &info, WEXITED | WNOHANG));
    say("nothing yet: pid %d signo %d\n", info.si_pid, info.si_signo);
    kill(child, SIGSTOP);
    CHECK(waitid(P_PID, child, &info, WSTOPPED | WNOWAIT) == 0 && info.si_pid == child);
    say("stopped: code %d status %d\n", info.si_code, info.si_status);
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    TRY(waitpid(child, &status, WUNTRACED | WNOHANG));
    kill(child, SIGCONT);
    CHECK(waitpid(child, &status, WCONTINUED) == child && WIFCONTINUED(status));
    kill(child, SIGKILL);
    CHECK(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) == 0 && info.si_pid == child);
    say("killed: code %d status %d\n", info.si_code, info.si_status);
    CHECK(wait4(-1, &status, 0, &usage) == child && WTERMSIG(status) == SIGKILL);
    TRY(wait4(child, &status, 0, NULL));

    pid_t leader = CHILD(setpgid(0, 0); pause());
    setpgid(leader, leader);
    pid_t member = CHILD(setpgid(0, leader); _exit(4));
    setpgid(member, leader);
    pid_t other = CHILD(_exit(5));
    CHECK(waitpid(-leader, &status, 0) == member && WEXITSTATUS(status) == 4);
    CHECK(waitpid(0, &status, 0) == other && WEXITSTATUS(status) == 5);
    kill(-leader, SIGTERM);
    CHECK(waitid(P_PGID, leader, &info, WEXITED) == 0 && info.si_pid == leader && info.si_code == CLD_KILLED);
    child = CHILD(double end = seconds() + 0.05; while (seconds() < end));
    CHECK(wait4(child, &status, 0, &usage) == child);
    say("used CPU: %d\n", usage.ru_utime.tv_usec + usage.ru_stime.tv_usec > 0);
    getrusage(RUSAGE_CHILDREN, &usage);
    say("children's: %d\n", usage.ru_utime.tv_usec + usage.ru_stime.tv_usec > 0);
    child = CHILD(pause());
    int pidfd = syscall(SYS_pidfd_open, child, O_NONBLOCK);
    CHECK(pidfd >= 0);
    TRY(waitid(P_PIDFD, pidfd, &info, WEXITED));
    memset(&info, 1, sizeof info);
    TRY(waitid(P_PIDFD, pidfd, &info, WEXITED | WNOHANG));
    say("nothing yet: pid %d\n", info.si_pid);
    kill(child, SIGKILL);
    CHECK(poll(&(struct pollfd){pidfd, POLLIN, 0}, 1, -1) == 1);
    TRY(waitid(P_PIDFD, pidfd, &info, WEXITED));
    TRY(waitid(P_PIDFD, pidfd, &info, WEXITED));
    TRY(waitid(P_PID, getpid(), &info, WEXITED));
    TRY(waitid(P_ALL, 0, &info, 0));
    TRY(waitid(99, 0, &info, WEXITED));
    TRY(waitpid(-1, &status, 0x100));
    TRY(waitpid(INT_MIN, &status, 0));
    return done();
}
