/* Job control: a background job that reads or writes its terminal stops, ^Z stops the foreground, fg continues it. */
#include "guest.h"
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <termios.h>

static int master, slave;

static pid_t job(int number)
{
    pid_t child = CHILD(
        setpgid(0, 0); char byte;
        if (number == 0) CHECK(read(slave, &byte, 1) == 1 && byte == 'y');
        if (number == 1) CHECK(write(slave, "w", 1) == 1);
        if (number == 2) for (;;) pause();
        if (number == 3) { handle(SIGTTIN, 0, SIG_IGN); CHECK(read(slave, &byte, 1) == -1 && errno == EIO); });
    setpgid(child, child);
    return child;
}

static void stopped(const char *what, pid_t child)
{
    int status;
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    say("%s: stopped by SIG%s\n", what, sigabbrev_np(WSTOPSIG(status)));
}

static void foreground(pid_t child)
{
    CHECK(tcsetpgrp(slave, child) == 0);
    kill(-child, SIGCONT);
}

int main(void)
{
    if (getpgrp() == getpid()) {
        pid_t child = fork();
        if (child)
            return reap(child);
    }
    CHECK(setsid() > 0 && openpty(&master, &slave, NULL, NULL, NULL) == 0 && ioctl(slave, TIOCSCTTY, 0) == 0);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0});
    handle(SIGTTOU, 0, SIG_IGN);
    pid_t shell = getpgrp(), child = job(0);
    stopped("background read", child);
    CHECK(write(master, "y\n", 2) == 2);
    foreground(child);
    say("in the foreground it reads: %d\n", reap(child));
    CHECK(tcsetpgrp(slave, shell) == 0);
    handle(SIGTTOU, 0, SIG_DFL);
    child = job(1);
    say("background write without TOSTOP: %d\n", reap(child));
    struct termios mode;
    tcgetattr(slave, &mode);
    mode.c_lflag |= TOSTOP;
    tcsetattr(slave, TCSANOW, &mode);
    child = job(1);
    stopped("with TOSTOP", child);
    handle(SIGTTOU, 0, SIG_IGN);
    foreground(child);
    say("then it writes: %d\n", reap(child));
    child = job(2);
    foreground(child);
    CHECK(write(master, "\032", 1) == 1);
    stopped("^Z", child);
    foreground(child);
    CHECK(write(master, "\034", 1) == 1);
    say("^\\ after fg: %d\n", reap(child));
    say("it is still in front when it is gone: %d\n", tcgetpgrp(slave) == child);
    child = job(0);
    stopped("and others behind it", child);
    CHECK(tcsetpgrp(slave, shell) == 0 && kill(child, SIGKILL) == 0 && reap(child) == -SIGKILL);
    child = job(3);
    say("SIGTTIN ignored is EIO: %d\n", reap(child));
    return done();
}
