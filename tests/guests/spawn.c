/* posix_spawn: file actions, attributes, and the error of an exec that fails. */
#include "guest.h"
#include <spawn.h>

extern char **environ;

int main(int argc, char **argv)
{
    if (argc > 1) {
        sigset_t mask;
        sigprocmask(SIG_BLOCK, NULL, &mask);
        struct sigaction action;
        sigaction(SIGUSR2, NULL, &action);
        say("child: %s, usr1 blocked %d, usr2 default %d, own group %d\n", argv[1], sigismember(&mask, SIGUSR1),
            action.sa_handler == SIG_DFL, getpgrp() == getpid());
        return 6;
    }
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int ends[2];
    CHECK(pipe(ends) == 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addopen(&actions, 5, "/dev/null", O_RDONLY, 0);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    sigset_t mask = set_of(SIGUSR1), defaults = set_of(SIGUSR2);
    posix_spawnattr_setsigmask(&attributes, &mask);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    handle(SIGUSR2, 0, SIG_IGN);
    char *args[] = {argv[0], "hello", NULL};
    pid_t child;
    for (int i = 0; i < 20; i++) {
        CHECK(posix_spawn(&child, "/proc/self/exe", &actions, &attributes, args, environ) == 0);
        char text[200] = {0};
        CHECK(read(ends[0], text, sizeof text - 1) > 0);
        if (i == 0)
            say("%s", text);
        CHECK(reap(child) == 6);
    }
    say("missing: %s\n", strerrorname_np(posix_spawn(&child, "/nowhere", NULL, NULL, args, environ)));
    say("not executable: %s\n", strerrorname_np(posix_spawn(&child, "/etc/passwd", NULL, NULL, args, environ)));
    say("a directory: %s\n", strerrorname_np(posix_spawn(&child, "/tmp", NULL, NULL, args, environ)));
    char *shell[] = {"sh", "-c", "exit 12", NULL};
    CHECK(posix_spawnp(&child, "sh", NULL, NULL, shell, environ) == 0);
    say("from PATH: %d\n", reap(child));
    return done();
}
