/* execve: arguments, environment, scripts, execveat and fexecve, close-on-exec, and what it refuses. */
#include "guest.h"

extern char **environ;

static void put(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0700);
    CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fchmod(fd, mode) == 0 && close(fd) == 0);
}

#define EXEC(path)                                                                                           \
    ({                                                                                                       \
        pid_t pid_ = CHILD(execve(path, args, env); say("%s: %s\n", path, strerrorname_np(errno)); _exit(99)); \
        int status_ = reap(pid_);                                                                            \
        if (status_ != 99)                                                                                   \
            say("%s: %d\n", path, status_);                                                                  \
    })

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "show") == 0) {
        for (int i = 1; i < argc; i++)
            say("argv[%d]=%s\n", i, argv[i]);
        for (char **e = environ; *e; e++)
            say("env %s\n", *e);
        say("fd 7 %d, fd 8 %d\n", fcntl(7, F_GETFD), fcntl(8, F_GETFD));
        return 3;
    }
    if (argc > 1 && strcmp(argv[1], "sum") == 0) {
        unsigned long sum = 0, length = 0;

        for (int i = 0; i < argc; i++)
            length += strlen(argv[i]) + 1;
        for (unsigned long i = 0; i < length; i++)
            sum = sum * 31 + (unsigned char)argv[0][i];
        say("%d arguments, %lu bytes, %lx\n", argc, length, sum);
        return 0;
    }
    scratch();
    char *args[] = {"zero", "show", "", "x y", NULL}, *env[] = {"A=1", "B=", NULL};
    dup2(1, 7);
    dup3(1, 8, O_CLOEXEC);
    EXEC("/proc/self/exe");
    put("script", "#!/bin/sh -e\necho \"script $0 $# $2\"\nexit 5\n", 0755);
    EXEC("./script");
    put("nested", "#!./script\n", 0755);
    EXEC("./nested");
    put("noformat", "echo hi\n", 0755);
    EXEC("./noformat");
    put("empty", "", 0755);
    EXEC("./empty");
    put("nointerp", "#!/nowhere/sh\n", 0755);
    EXEC("./nointerp");
    put("loop", "#!./loop\n", 0755);
    EXEC("./loop");
    for (int i = 1; i <= 5; i++) { /* scripts run by scripts: five are fine */
        char path[20], text[40];
        snprintf(path, sizeof path, "./nest%d", i);
        snprintf(text, sizeof text, i == 1 ? "#!./nested\n" : "#!./nest%d\n", i - 1);
        put(path, text, 0755);
        EXEC(path);
    }
    put("notexec", "#!/bin/sh\n", 0644);
    EXEC("./notexec");
    put("badelf", "\177ELF\2\1\1\0 and then nothing that makes sense of it all, not at all, no", 0755);
    EXEC("./badelf");
    EXEC("./nowhere");
    EXEC(".");
    EXEC("./script/x");
    EXEC("");
    mkdir("dir", 0755);
    symlink("/proc/self/exe", "link");
    EXEC("./link");
    int fd = open("script", O_PATH);
    pid_t child = CHILD(syscall(SYS_execveat, fd, "", args, env, AT_EMPTY_PATH); _exit(errno));
    say("execveat: %d\n", reap(child));
    child = CHILD(fcntl(fd, F_SETFD, FD_CLOEXEC); syscall(SYS_execveat, fd, "", args, env, AT_EMPTY_PATH); _exit(errno));
    say("a script that is closed by then: %s\n", strerrorname_np(reap(child)));
    child = CHILD(syscall(SYS_execveat, AT_FDCWD, "link", args, env, AT_SYMLINK_NOFOLLOW); _exit(errno));
    say("through a link: %s\n", strerrorname_np(reap(child)));
    static char *many[20000];
    static char big[140000];
    memset(big, 'a', sizeof big - 1);
    for (int size = 30000; size <= 120000; size += 30000) { /* more than fits one message, and than fits two */
        memset(big + size - 1, 0, 1);
        many[0] = many[2] = big;
        many[1] = "sum";
        for (int i = 0; i < 999; i++)
            many[3 + i] = i % 2 ? "odd" : "even";
        reap(CHILD(execve("/proc/self/exe", many, env); _exit(errno)));
        memset(big + size - 1, 'a', 1);
    }
    memset(many, 0, sizeof many);
    many[0] = many[1] = big;
    child = CHILD(execve("/proc/self/exe", many, env); _exit(errno));
    say("one huge string: %s\n", strerrorname_np(reap(child)));
    TRY(syscall(SYS_execve, "/proc/self/exe", 8, env));
    TRY(syscall(SYS_execve, 8, args, env));
    return done();
}
