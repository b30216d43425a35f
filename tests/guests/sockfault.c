/* What a reader of a stream socket cannot store stays in the stream, descriptors, too; a datagram is lost. */
#include "guest.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

static char *edge, in[200000], out[200000]; /* behind the edge there is no memory */

static void held(int fd)
{
    int n;
    CHECK(ioctl(fd, FIONREAD, &n) == 0);
    say("held %d\n", n);
}

static void on_alarm(int signal UNUSED) {}

static void receive(int from, size_t size)
{
    CHECK(recv(from, in, size, MSG_WAITALL) == (ssize_t)size && memcmp(in, out, size) == 0);
}

static void streams(void)
{
    int end[2], pipe_[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, end) == 0 && pipe(pipe_) == 0);
    TRY(write(end[1], out, 100));
    TRY(read(end[0], BAD, 100));
    TRY(recv(end[0], edge - 50, 100, 0));
    TRY(recv(end[0], edge - 50, 100, MSG_PEEK));
    TRY(recv(end[0], edge - 50, 100, MSG_WAITALL));
    TRY(recvfrom(end[0], edge - 50, 100, 0, (void *)in, &(socklen_t){100}));
    held(end[0]);
    struct iovec parts[] = {{in, 10}, {edge, 20}, {in, 80}};
    TRY(readv(end[0], parts, 3));
    struct msghdr header = {.msg_iov = parts, .msg_iovlen = 3};
    TRY(recvmsg(end[0], &header, 0));
    held(end[0]);
    TRY(read(end[0], edge - 40, 40));
    CHECK(memcmp(edge - 40, out, 40) == 0);
    TRY(read(end[0], edge - 40, 60));
    TRY(read(end[0], in, 100));
    CHECK(memcmp(in, out + 40, 60) == 0);
    TRY(recv(end[0], in, 100, MSG_DONTWAIT));

    /* What goes with the reply, and what is too much for it. */
    for (size_t size = 50000; size < 200000; size += 40000) {
        pid_t child = CHILD(CHECK(write(end[1], out, size) == (ssize_t)size));
        CHECK(recv(end[0], edge - 10, size, 0) == -1 && errno == EFAULT);
        receive(end[0], size);
        CHECK(reap(child) == 0);
    }

    /* Bytes that are behind do not come before. */
    int offset = 10;
    CHECK(setsockopt(end[0], SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset) == 0);
    CHECK(write(end[1], out, 10) == 10 && read(end[0], BAD, 10) == -1 && write(end[1], out + 10, 10) == 10);
    TRY(recv(end[0], in, 100, MSG_PEEK));
    receive(end[0], 20);

    /* Descriptors wait with their bytes. */
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.header), &pipe_[1], sizeof(int));
    struct iovec whole = {out, 5}, bad = {edge, 5}, good = {in, 5};
    header = (struct msghdr){.msg_iov = &whole, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    TRY(sendmsg(end[1], &header, 0));
    memset(&control, 0, sizeof control);
    header.msg_iov = &bad;
    TRY(recvmsg(end[0], &header, 0));
    TRY(read(end[0], BAD, 5));
    header.msg_iov = &good;
    header.msg_controllen = sizeof control;
    TRY(recvmsg(end[0], &header, 0));
    int passed;
    memcpy(&passed, CMSG_DATA(&control.header), sizeof passed);
    CHECK(control.header.cmsg_type == SCM_RIGHTS && write(passed, "x", 1) == 1 && read(pipe_[0], in, 1) == 1);

    /* Signals come all the time. */
    handle(SIGALRM, SA_RESTART, on_alarm);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 500}, {0, 500}}, NULL);
    for (int i = 0; i < 2000; i++) {
        CHECK(write(end[1], out, 8) == 8);
        CHECK(read(end[0], edge - i % 8, 8) == -1 && errno == EFAULT);
        receive(end[0], 8);
    }
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);

    /* Who polls or waits meanwhile hears of what came back. */
    for (int i = 0; i < 100; i++) {
        struct pollfd ready = {end[0], POLLIN, 0};
        pid_t child = CHILD(for (int k = 0; k < 20; k++) CHECK(read(end[0], edge, 8) == -1));
        CHECK(write(end[1], out, 8) == 8 && poll(&ready, 1, 10000) == 1);
        CHECK(write(end[1], out + 8, 8) == 8);
        CHECK(reap(child) == 0);
        receive(end[0], 16);
    }
    CHECK(write(end[1], out, 3) == 3 && close(end[1]) == 0);
    TRY(read(end[0], BAD, 3));
    TRY(read(end[0], in, 10));
    TRY(read(end[0], in, 10));
}

static void packets(int type)
{
    int end[2];
    CHECK(socketpair(AF_UNIX, type, 0, end) == 0);
    CHECK(write(end[1], out, 100) == 100 && write(end[1], "second", 6) == 6);
    TRY(read(end[0], edge - 50, 100));
    TRY(read(end[0], in, 100));
    TRY(recv(end[0], in, 100, MSG_DONTWAIT));
}

int main(void)
{
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED && mprotect(pages + 4096, 4096, PROT_NONE) == 0);
    edge = pages + 4096;
    for (size_t i = 0; i < sizeof out; i++)
        out[i] = (char)(i * 7 + i / 4096);
    streams();
    packets(SOCK_DGRAM);
    packets(SOCK_SEQPACKET);
    return done();
}
