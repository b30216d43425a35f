/* User and group ids: real, effective, saved; who may change to what; supplementary groups; what exec keeps. */
#include "guest.h"
#include <grp.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>

static void show(const char *what)
{
    uid_t r, e, s;
    gid_t gr, ge, gs;
    CHECK(getresuid(&r, &e, &s) == 0 && getresgid(&gr, &ge, &gs) == 0);
    say("%s: uid %d %d %d gid %d %d %d\n", what, r, e, s, gr, ge, gs);
}

int main(void)
{
    if (geteuid() != 0)
        skip("needs root");
    pid_t child = CHILD(TRY(seteuid(1000)); show("seteuid"); TRY(seteuid(0)); show("and back"); TRY(setuid(1000)); show("setuid");
                        TRY(setuid(0)); TRY(seteuid(0)));
    CHECK(reap(child) == 0);
    child = CHILD(TRY(setresuid(1, 2, 3)); show("setresuid"); TRY(setresuid(2, 3, 1)); show("among them"); TRY(setresuid(-1, 4, -1));
                  TRY(setreuid(-1, 1)); show("setreuid"); TRY(setfsuid(2)); TRY(setfsuid(-1)); TRY(setfsuid(99)); TRY(setfsuid(-1)));
    CHECK(reap(child) == 0);
    child = CHILD(TRY(setresgid(5, 6, 7)); TRY(setregid(-1, 7)); show("gids"); TRY(setgid(8)); show("setgid as root"));
    CHECK(reap(child) == 0);
    gid_t groups[] = {10, 20, 30}, got[8];
    child = CHILD(TRY(setgroups(3, groups)); TRY(getgroups(8, got)); say("%d %d %d\n", got[0], got[1], got[2]);
                  TRY(getgroups(0, NULL)); TRY(getgroups(1, got)); TRY(setgroups(70000, groups)); setuid(1000);
                  TRY(setgroups(0, NULL)));
    CHECK(reap(child) == 0);
    child = CHILD(CHECK(prctl(PR_SET_DUMPABLE, 1) == 0); setresuid(1000, 1000, 0); say("dumpable %d\n", prctl(PR_GET_DUMPABLE));
                  TRY(prctl(PR_SET_KEEPCAPS, 1)); TRY(prctl(PR_GET_KEEPCAPS)));
    CHECK(reap(child) == 0);
    scratch();
    chmod(".", 0755);
    CHECK(system("cp /bin/sh ./shell && chown 1000:1000 shell && chmod 6755 shell") == 0);
    child = CHILD(setgroups(0, NULL); setresgid(1001, 1001, 1001); setresuid(1001, 1001, 1001);
                  execl("./shell", "shell", "-p", "-c", "read a b c d e </proc/self/status; while read k r e s f; do case $k in "
                                                        "Uid:|Gid:) echo $k $r $e $s;; esac; done </proc/self/status", NULL));
    CHECK(reap(child) == 0);
    return done();
}
