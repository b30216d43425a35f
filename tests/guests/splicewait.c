/* splice and its kin move what a pipe has room for, and wait for no more than its first page. */
#include "guest.h"
#include <sys/sendfile.h>

static char page[4096], lots[256 << 10] __attribute__((aligned(4096)));

static void fill(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    CHECK(fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0);
    while (write(fd, page, sizeof page) > 0)
        ;
    CHECK(errno == EAGAIN && fcntl(fd, F_SETFL, flags) == 0);
}

static void drain(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    CHECK(fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0);
    while (read(fd, lots, sizeof lots) > 0)
        ;
    CHECK(fcntl(fd, F_SETFL, flags) == 0);
}

/* What a call that has to wait moves, once somebody makes `room` in the pipe by reading (or writes to `source`). */
#define WAITING(call, from, to, room)                                                                        \
    do {                                                                                                     \
        pid_t helper = CHILD(nap(100); CHECK(to >= 0 ? write(to, "late", 4) == 4 : read(from, lots, room) == room)); \
        TRY(call);                                                                                           \
        CHECK(reap(helper) == 0);                                                                            \
    } while (0)

int main(void)
{
    int a[2], b[2];
    scratch();
    int file = open("file", O_RDWR | O_CREAT, 0600);
    CHECK(write(file, lots, sizeof lots) == sizeof lots && pipe(a) == 0 && pipe(b) == 0);
    struct iovec part = {lots, sizeof lots};
    alarm(20);
    TRY(vmsplice(a[1], &part, 1, 0));
    TRY(vmsplice(a[1], &part, 1, SPLICE_F_NONBLOCK));
    WAITING(vmsplice(a[1], &part, 1, 0), a[0], -1, 4096);
    drain(a[0]);
    TRY(sendfile(a[1], file, &(off_t){0}, sizeof lots));
    WAITING(sendfile(a[1], file, &(off_t){0}, sizeof lots), a[0], -1, 8192);
    drain(a[0]);
    TRY(splice(file, &(loff_t){0}, a[1], NULL, sizeof lots, 0));
    WAITING(splice(file, &(loff_t){0}, a[1], NULL, sizeof lots, 0), a[0], -1, 4096);
    TRY(splice(a[0], NULL, b[1], NULL, sizeof lots, 0));
    fill(a[1]);
    WAITING(splice(a[0], NULL, b[1], NULL, sizeof lots, 0), b[0], -1, 4096);
    WAITING(tee(a[0], b[1], sizeof lots, 0), b[0], -1, 4096);
    drain(a[0]), drain(b[0]);
    WAITING(tee(a[0], b[1], 100, 0), a[0], a[1], 0);
    TRY(read(b[0], lots, sizeof lots));
    drain(a[0]);
    WAITING(splice(a[0], NULL, b[1], NULL, 100, 0), a[0], a[1], 0);
    drain(b[0]);
    fill(b[1]);
    CHECK(fcntl(b[1], F_SETFL, O_NONBLOCK) == 0 && write(a[1], "more", 4) == 4);
    TRY(tee(a[0], b[1], 100, 0));
    TRY(splice(a[0], NULL, b[1], NULL, 100, 0));
    TRY(vmsplice(b[1], &part, 1, SPLICE_F_NONBLOCK));
    close(a[1]);
    drain(a[0]);
    TRY(tee(a[0], b[1], 100, 0));
    TRY(splice(a[0], NULL, b[1], NULL, 100, 0));
    signal(SIGPIPE, SIG_IGN);
    close(b[0]);
    TRY(vmsplice(b[1], &part, 1, 0));
    TRY(sendfile(b[1], file, NULL, 10));
    return done();
}
