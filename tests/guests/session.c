/* Sessions and process groups: who may move where, and what the end of a leader does. */
#include "guest.h"

static volatile int hups, conts;
static void on_hup(int signal UNUSED) { hups++; }
static void on_cont(int signal UNUSED) { conts++; }

int main(void)
{
    pid_t child = CHILD(CHECK(setsid() == getpid()); CHECK(getsid(0) == getpid() && getpgrp() == getpid()); TRY(setsid());
                        TRY(setpgid(0, 0)));
    CHECK(reap(child) == 0);
    int go[2], back[2];
    char byte = 0;
    CHECK(pipe(go) == 0 && pipe(back) == 0);
    child = CHILD(CHECK(setpgid(0, 0) == 0 && getpgid(0) == getpid()); CHECK(write(back[1], "x", 1) == 1);
                  CHECK(read(go[0], &byte, 1) == 1));
    CHECK(read(back[0], &byte, 1) == 1 && getpgid(child) == child && getsid(child) == getsid(0));
    TRY(setpgid(child, getpgrp()));
    TRY(setpgid(child, 12345678));
    TRY(setpgid(child, -1));
    TRY(setpgid(-1, 0));
    TRY(setpgid(12345678, 0));
    TRY(getpgid(12345678));
    TRY(getsid(12345678));
    TRY(kill(-12345678, 0));
    TRY(kill(12345678, 0));
    reap(CHILD(if (geteuid() == 0) CHECK(setuid(54321) == 0); TRY(kill(-1, 0)))); /* all that may be: perhaps none */
    CHECK(write(go[1], "x", 1) == 1 && reap(child) == 0);
    int started[2];
    CHECK(pipe2(started, O_CLOEXEC) == 0);
    child = CHILD(execl("/bin/sh", "sh", "-c", "read x", NULL));
    close(started[1]);
    CHECK(read(started[0], &byte, 1) == 0);
    TRY(setpgid(child, child)); /* after its exec */
    kill(child, SIGKILL);
    reap(child);

    child = CHILD( /* a group that becomes orphaned while a member is stopped: SIGHUP, then SIGCONT */
        setsid(); pid_t middle = CHILD(
            setpgid(0, 0); handle(SIGHUP, 0, on_hup); handle(SIGCONT, 0, on_cont); pid_t inner = CHILD(
                raise(SIGSTOP); while (!hups || !conts) nap(1); CHECK(hups == 1 && conts == 1); CHECK(write(back[1], "y", 1) == 1));
            int status; CHECK(waitpid(inner, &status, WUNTRACED) == inner && WIFSTOPPED(status)));
        CHECK(reap(middle) == 0); CHECK(read(back[0], &byte, 1) == 1));
    CHECK(reap(child) == 0);
    say("the orphaned group was hung up and continued\n");
    return done();
}
