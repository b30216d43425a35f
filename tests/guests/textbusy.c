/* ETXTBSY: writing to what is executed, executing what is open for writing. */
#include "guest.h"

static void copy(const char *from, const char *to)
{
    char buffer[65536];
    ssize_t size;
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755);
    CHECK(in >= 0 && out >= 0);
    while ((size = read(in, buffer, sizeof buffer)) > 0)
        CHECK(write(out, buffer, (size_t)size) == size);
    close(in);
    close(out);
}

static int start(const char *program, const char *argument)
{
    return reap(CHILD(execl(program, program, argument, NULL); say("execl: %s\n", strerrorname_np(errno)); _exit(1)));
}

int main(int argc, char **argv)
{
    int fd, ends[2];
    char byte;
    if (argc > 1 && strcmp(argv[1], "wait") == 0) {
        CHECK(write(3, "r", 1) == 1);
        return read(4, &byte, 1) == 0 ? 0 : 1;
    }
    if (argc > 1)
        return 5;
    scratch();
    copy("/proc/self/exe", "program");
    say("runs: %d\n", start("./program", "x"));

    CHECK((fd = open("program", O_WRONLY)) >= 0);
    say("open for writing: %d\n", start("./program", "x"));
    int second = open("program", O_RDWR);
    close(fd);
    say("still: %d\n", start("./program", "x"));
    close(second);
    say("closed: %d\n", start("./program", "x"));
    CHECK((fd = open("program", O_RDONLY)) >= 0);
    say("open for reading: %d\n", start("./program", "x"));
    close(fd);

    int back[2];
    CHECK(pipe(ends) == 0 && pipe(back) == 0);
    pid_t child = CHILD(dup2(back[1], 13); dup2(ends[0], 14); for (int i = 3; i < 13; i++) close(i);
                        dup2(13, 3); dup2(14, 4); close(13); close(14); execl("./program", "program", "wait", NULL));
    close(back[1]);
    close(ends[0]);
    CHECK(read(back[0], &byte, 1) == 1);
    TRY(open("program", O_WRONLY));
    TRY(open("program", O_RDWR));
    TRY(open("program", O_WRONLY | O_TRUNC));
    TRY(open("program", O_RDONLY | O_TRUNC));
    TRY(open("program", O_WRONLY | O_APPEND | O_CREAT, 0755));
    TRY(truncate("program", 5));
    TRY_OK(fd = open("program", O_RDONLY));
    close(fd);
    TRY(chmod("program", 0700));
    TRY(rename("program", "other"));
    TRY(open("other", O_WRONLY));
    say("another: %d\n", start("./other", "x"));
    close(ends[1]);
    say("ended: %d\n", reap(child));
    TRY_OK(fd = open("other", O_RDWR));
    close(fd);

    fd = open("script", O_WRONLY | O_CREAT, 0755);
    dprintf(fd, "#!%s/other argument\n", scratch_path);
    say("a script that is being written: %d\n", start("./script", NULL));
    close(fd);
    CHECK((fd = open("other", O_WRONLY)) >= 0);
    say("an interpreter that is being written: %d\n", start("./script", NULL));
    close(fd);
    say("a script: %d\n", start("./script", NULL));
    CHECK((fd = memfd_create("program", 0)) >= 0 && write(fd, "#!/bin/true\n", 12) == 12);
    char name[32];
    sprintf(name, "/proc/self/fd/%d", fd);
    say("from memory: %d\n", start(name, NULL)); /* what memfd_create opens counts as no writer */
    return done();
}
