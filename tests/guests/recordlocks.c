/* Record locks taken and given up over and over, as databases do, beside another process that wants them. */
#include "guest.h"

static int set(int fd, int command, int type, long start, long length)
{
    struct flock range = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

    return fcntl(fd, command, &range);
}

/* Whose lock the byte has, or 0. */
static pid_t holder(int fd, long byte)
{
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    CHECK(fcntl(fd, F_GETLK, &range) == 0);
    return range.l_type == F_UNLCK ? 0 : range.l_pid;
}

/* Which of the first bytes somebody else has, as a child of the process sees it. */
static void show(int fd)
{
    reap(CHILD(for (int i = 0; i < 12; i++) say("%s", !holder(fd, i) ? "." : holder(fd, i) == getppid() ? "x" : "?"); say("\n");));
}

static void alone(int fd)
{
    for (int i = 0; i < 60; i++) {
        CHECK(set(fd, F_SETLK, F_RDLCK, 0, 10) == 0);
        CHECK(set(fd, F_SETLKW, F_WRLCK, 4, 2) == 0); /* in the middle of it */
        CHECK(set(fd, F_SETLK, F_UNLCK, 5, 0) == 0);
        if (i == 30)
            show(fd);
        CHECK(set(fd, F_SETLK, F_UNLCK, 0, 0) == 0);
    }
    show(fd);
    TRY(set(fd, F_SETLK, F_WRLCK, -1, 1));
    TRY(set(fd, F_SETLK, F_WRLCK, 5, -3)); /* 2 to 4 */
    TRY(set(fd, F_SETLK, F_WRLCK, 2, -3));
    TRY(set(fd, F_SETLK, F_WRLCK, 10, (1UL << 63) - 11)); /* to the last byte that there can be */
    TRY(set(fd, F_SETLK, F_WRLCK, 10, (1UL << 63) - 9));
    show(fd);
    TRY(set(fd, F_SETLK, 7, 0, 1));
    TRY(fcntl(fd, F_SETLK, (void *)8));
    int reader = open("f", O_RDONLY), writer = open("f", O_WRONLY);
    for (int i = 0; i < 2; i++) {
        TRY(set(reader, F_SETLK, F_WRLCK, 0, 1));
        TRY(set(writer, F_SETLK, F_RDLCK, 0, 1));
        TRY(set(reader, F_SETLK, F_RDLCK, 0, 1));
        TRY(set(writer, F_OFD_SETLK, F_WRLCK, 1, 1));
        TRY(set(reader, F_OFD_SETLK, F_RDLCK, 1, 1));
    }
    close(writer); /* and with it the process's own, and those of the description */
    show(fd);
    close(reader);
}

static void in_turns(int fd)
{
    int ask[2], said[2];
    char byte;

    CHECK(pipe(ask) == 0 && pipe(said) == 0);
    pid_t child = CHILD(while (read(ask[0], &byte, 1) == 1 && byte != '.') {
        int result = byte == 'w' ? set(fd, F_SETLKW, F_WRLCK, 0, 1) : byte == 'u' ? set(fd, F_SETLK, F_UNLCK, 0, 1) : set(fd, F_SETLK, F_WRLCK, 0, 1);
        CHECK(write(said[1], result == 0 ? "y" : errno == EAGAIN ? "n" : "?", 1) == 1);
    });
    for (int i = 0; i < 20; i++) {
        CHECK(set(fd, F_SETLK, F_WRLCK, 0, 1) == 0);
        CHECK(write(ask[1], "t", 1) == 1 && read(said[0], &byte, 1) == 1 && byte == 'n');
        CHECK(write(ask[1], "w", 1) == 1);
        if (i % 4 == 0)
            nap(2); /* it waits, mostly */
        CHECK(set(fd, F_SETLK, F_UNLCK, 0, 1) == 0);
        CHECK(read(said[0], &byte, 1) == 1 && byte == 'y');
        CHECK(set(fd, F_SETLK, F_WRLCK, 0, 1) == -1 && errno == EAGAIN && holder(fd, 0) == child);
        CHECK(write(ask[1], "u", 1) == 1 && read(said[0], &byte, 1) == 1 && byte == 'y');
    }
    CHECK(write(ask[1], ".", 1) == 1);
    say("in turns: %d\n", reap(child));
}

int main(void)
{
    scratch();
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    alone(fd);
    in_turns(fd);
    return done();
}
