/* Calls that wait in the middle of their work: all of it is done in the end, and once; or as far as a signal let it. */
#include "guest.h"
#include <poll.h>
#include <pty.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <termios.h>

#define SIZE 300000
static unsigned char bytes[SIZE], buffer[2 * SIZE];

static void ring(int signal UNUSED) {}

static void pair_of(int type, int pair[2], int room)
{
    CHECK(socketpair(AF_UNIX, type, 0, pair) == 0);
    CHECK(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room) == 0);
}

/* Read until the end, a little at a time, and see that the bytes are those of the pattern. */
static void drain(int fd, long expected)
{
    long got, all = 0;
    nap(20);
    while ((got = read(fd, buffer, 7000)) > 0) {
        CHECK(memcmp(buffer, bytes + all % SIZE, got) == 0);
        all += got;
        if (all % 3 == 0)
            sched_yield();
    }
    CHECK(got == 0 && all == expected);
}

/* The call writes to end[1], another process reads end[0]. */
#define DRAINED(end, expected, call)                                                                         \
    do {                                                                                                     \
        pid_t child_ = CHILD(close(end[1]); drain(end[0], expected));                                        \
        close(end[0]);                                                                                       \
        TRY(call);                                                                                           \
        close(end[1]);                                                                                       \
        CHECK(reap(child_) == 0);                                                                            \
    } while (0)

/* The call reads from end[0], another process writes to end[1], three bytes every few milliseconds. */
#define FED(end, count, call)                                                                                \
    do {                                                                                                     \
        pid_t child_ = CHILD(for (int i_ = 0; i_ < count; i_++) {                                            \
            nap(8);                                                                                          \
            CHECK(write(end[1], bytes + 3 * i_, 3) == 3);                                                    \
        });                                                                                                  \
        memset(buffer, 0, sizeof buffer);                                                                    \
        TRY(call);                                                                                           \
        CHECK(reap(child_) == 0);                                                                            \
    } while (0)

static long map_all(int fd)
{
    long moved = 0, all = 0;
    while (moved >= 0 && all < SIZE) {
        struct iovec rest = {bytes + all, SIZE - all};
        moved = vmsplice(fd, &rest, 1, 0);
        all += moved;
    }
    return all;
}

static long send_all(int fd, int file, off_t *at)
{
    long moved = 1, all = 0;
    while (moved > 0 && all < SIZE) {
        moved = sendfile(fd, file, at, SIZE - all);
        all += moved;
    }
    return all;
}

static void writes(void)
{
    struct iovec parts[] = {{bytes, 100000}, {bytes + 100000, 0}, {bytes + 100000, SIZE - 100000}};
    int end[2];
    CHECK(pipe(end) == 0);
    DRAINED(end, SIZE, write(end[1], bytes, SIZE));
    CHECK(pipe(end) == 0);
    DRAINED(end, SIZE, writev(end[1], parts, 3));
    CHECK(pipe(end) == 0);
    DRAINED(end, SIZE, map_all(end[1]));
    pair_of(SOCK_STREAM, end, 5000);
    int other = end[0];
    end[0] = end[1], end[1] = other;
    DRAINED(end, SIZE, send(end[1], bytes, SIZE, 0));
    int file = open("file", O_RDWR | O_CREAT, 0600);
    CHECK(write(file, bytes, SIZE) == SIZE);
    off_t at = 0;
    CHECK(pipe(end) == 0);
    DRAINED(end, SIZE, send_all(end[1], file, &at));
    CHECK(at == SIZE && lseek(file, 0, SEEK_SET) == 0);
    pair_of(SOCK_STREAM, end, 5000);
    other = end[0];
    end[0] = end[1], end[1] = other;
    DRAINED(end, SIZE, send_all(end[1], file, NULL));
    CHECK(lseek(file, 0, SEEK_CUR) == SIZE);
    close(file);
}

/* From a pipe on to a socket with little room: what has left the one arrives at the other. */
static void spliced(void)
{
    int end[2], pair[2];
    CHECK(pipe(end) == 0 && write(end[1], bytes, 60000) == 60000 && close(end[1]) == 0);
    pair_of(SOCK_STREAM, pair, 5000);
    pid_t child = CHILD(close(pair[0]); drain(pair[1], 60000));
    close(pair[1]);
    long moved, all = 0;
    while ((moved = splice(end[0], NULL, pair[0], NULL, 60000, 0)) > 0)
        all += moved;
    say("spliced %ld\n", all);
    close(pair[0]), close(end[0]);
    CHECK(reap(child) == 0);
}

static void counters(void)
{
    uint64_t values[2] = {1, UINT64_MAX - 3}, got;
    struct iovec parts[] = {{&values[0], 8}, {&values[1], 8}};
    int counter = eventfd(0, 0);
    CHECK(counter >= 0);
    pid_t child = CHILD(nap(30); CHECK(read(counter, &got, 8) == 8); _exit((int)got));
    values[0] = 4;
    TRY(writev(counter, parts, 2));
    CHECK(reap(child) == 4 && read(counter, &got, 8) == 8);
    say("then %lx\n", (long)got);
}

static void count_descriptors(int fd)
{
    char control[256];
    struct iovec part = {buffer, 1000};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control};
    int count = 0;
    long got, all = 0;
    nap(20);
    while (header.msg_controllen = sizeof control, (got = recvmsg(fd, &header, 0)) > 0) {
        all += got;
        if (CMSG_FIRSTHDR(&header))
            count += (CMSG_FIRSTHDR(&header)->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    }
    say("descriptors %d, bytes %ld\n", count, all);
}

static void receives(void)
{
    int pair[2], files[2];
    pair_of(SOCK_STREAM, pair, 100000);
    FED(pair, 5, recv(pair[0], buffer, 15, MSG_WAITALL));
    CHECK(memcmp(buffer, bytes, 15) == 0);
    int low = 7;
    CHECK(setsockopt(pair[0], SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low) == 0);
    FED(pair, 3, recv(pair[0], buffer, 9, 0));
    CHECK(memcmp(buffer, bytes, 9) == 0);
    close(pair[0]), close(pair[1]);

    /* One descriptor, before many bytes: it arrives once. */
    pair_of(SOCK_STREAM, pair, 5000);
    CHECK(pipe(files) == 0);
    pid_t child = CHILD(close(pair[0]); close(files[1]); count_descriptors(pair[1]));
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec part = {bytes, SIZE};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    *CMSG_FIRSTHDR(&header) = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&header)), &files[1], sizeof(int));
    TRY(sendmsg(pair[0], &header, 0));
    close(pair[0]), close(pair[1]), close(files[1]);
    CHECK(reap(child) == 0);
    TRY(read(files[0], buffer, 1)); /* nobody has the other end any more */
}

static void take_messages(int fd, struct mmsghdr *received)
{
    struct timespec time = {20, 0};
    nap(20);
    CHECK(recvmmsg(fd, received, 8, 0, &time) == 8);
    CHECK(time.tv_sec == 19);
}

static void messages(void)
{
    int pair[2];
    struct iovec part = {bytes, 3000}, rooms[20];
    struct mmsghdr sent[20] = {0}, received[20] = {0};
    for (int i = 0; i < 20; i++) {
        sent[i].msg_hdr = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1};
        rooms[i] = (struct iovec){buffer + i * 3000, 3000};
        received[i].msg_hdr = (struct msghdr){.msg_iov = &rooms[i], .msg_iovlen = 1};
    }
    pair_of(SOCK_DGRAM, pair, 8000);
    pid_t child = CHILD(take_messages(pair[1], received));
    TRY(sendmmsg(pair[0], sent, 8, 0));
    CHECK(reap(child) == 0);
    TRY(recv(pair[1], buffer, 10, MSG_DONTWAIT)); /* no message came twice */
    struct timespec time = {0, 150000000};
    pid_t slow = CHILD(for (int i = 0; i < 20; i++) {
        nap(60);
        send(pair[0], bytes, 1, 0);
    });
    long got = recvmmsg(pair[1], received, 20, 0, &time);
    CHECK(got > 0 && got < 20); /* the time of the call, not of a message */
    CHECK(kill(slow, SIGKILL) == 0 && reap(slow) == -SIGKILL);
}

static void typed(void)
{
    int ends[2];
    struct termios mode;
    CHECK(openpty(&ends[1], &ends[0], NULL, NULL, NULL) == 0 && tcgetattr(ends[0], &mode) == 0);
    cfmakeraw(&mode);
    mode.c_cc[VMIN] = 9;
    CHECK(tcsetattr(ends[0], TCSANOW, &mode) == 0);
    FED(ends, 3, read(ends[0], buffer, 100));
    CHECK(memcmp(buffer, bytes, 9) == 0);
    mode.c_cc[VMIN] = 30;
    mode.c_cc[VTIME] = 2;
    CHECK(tcsetattr(ends[0], TCSANOW, &mode) == 0);
    double start = seconds();
    FED(ends, 3, read(ends[0], buffer, 100));
    CHECK(memcmp(buffer, bytes, 9) == 0 && seconds() - start < 1);
}

/* A signal ends the call, which says how far it came: that far the reader sees it. */
static void signalled(void)
{
    int end[2];
    long got, all = 0;
    handle(SIGALRM, 0, ring);
    CHECK(pipe(end) == 0 && fcntl(end[1], F_SETPIPE_SZ, 65536) == 65536);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 40000}}, NULL);
    TRY(write(end[1], bytes, SIZE));
    close(end[1]);
    while ((got = read(end[0], buffer, sizeof buffer)) > 0)
        all += got;
    CHECK(all == 65536);
    struct timespec left = {0};
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 40000}}, NULL);
    TRY(nanosleep(&(struct timespec){2, 0}, &left));
    CHECK(left.tv_sec == 1);
    sigset_t waited = set_of(SIGUSR1);
    double start = seconds();
    TRY(sigtimedwait(&waited, NULL, &(struct timespec){0, 60000000}));
    CHECK(seconds() - start >= 0.06 && seconds() - start < 1);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 40000}}, NULL);
    TRY(sigtimedwait(&waited, NULL, NULL));
}

int main(void)
{
    for (int i = 0; i < SIZE; i++)
        bytes[i] = (unsigned char)(i * 7 + i / 251);
    scratch();
    writes();
    spliced();
    counters();
    receives();
    messages();
    typed();
    signalled();
    return done();
}
