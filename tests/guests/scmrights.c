/* SCM_RIGHTS: descriptors travel with their description; truncation, close-on-exec, sockets in flight. */
#include "guest.h"
#include <sys/socket.h>

static int pair[2];

static int send_fds(const int *fds, int count)
{
    char control[CMSG_SPACE(sizeof(int) * 10)] = {0};
    struct iovec byte = {"x", 1};
    struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(4 * count)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(4 * count)};
    memcpy(CMSG_DATA(header), fds, 4 * count);
    return sendmsg(pair[0], &message, 0);
}

static int receive_fds(int *fds, int room, int flags, int *seen)
{
    char control[CMSG_SPACE(sizeof(int) * 10)], byte;
    struct iovec into = {&byte, 1};
    struct msghdr message = {.msg_iov = &into, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_LEN(4 * room)};
    CHECK(recvmsg(pair[1], &message, flags) == 1);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    int count = header ? (int)(header->cmsg_len - CMSG_LEN(0)) / 4 : 0;
    memcpy(fds, header ? (void *)CMSG_DATA(header) : fds, count * 4);
    *seen = message.msg_flags & (MSG_CTRUNC | MSG_CMSG_CLOEXEC);
    return count;
}

int main(void)
{
    int fds[10], got[10], flags, file;
    char buffer[10];
    scratch();
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    file = open("f", O_RDWR | O_CREAT, 0600);
    CHECK(write(file, "0123456789", 10) == 10 && lseek(file, 3, SEEK_SET) == 3);
    TRY(send_fds(&file, 1));
    close(file);
    say("received %d", receive_fds(got, 10, 0, &flags));
    say(" as %d, flags %x\n", got[0], flags);
    CHECK(read(got[0], buffer, 2) == 2 && buffer[0] == '3');
    CHECK(fcntl(got[0], F_GETFD) == 0);
    file = got[0];
    for (int i = 0; i < 5; i++)
        fds[i] = file;
    TRY(send_fds(fds, 5));
    say("received %d", receive_fds(got, 2, MSG_CMSG_CLOEXEC, &flags));
    say(", flags %x, cloexec %d %d\n", flags, fcntl(got[0], F_GETFD), fcntl(got[1], F_GETFD));
    CHECK(lseek(got[1], 0, SEEK_CUR) == 5);
    close(got[0]), close(got[1]);
    CHECK(write(pair[0], "first", 5) == 5);
    fds[0] = file = open("/dev/null", O_RDONLY);
    TRY(send_fds(fds, 1));
    CHECK(write(pair[0], "last", 4) == 4);
    char parts[20];
    struct iovec room = {parts, sizeof parts};
    char control[64];
    struct msghdr mixed = {.msg_iov = &room, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    TRY(recvmsg(pair[1], &mixed, 0)); /* what comes before descriptors goes with them, what comes behind does not */
    say("control %d\n", mixed.msg_controllen > 0);
    memcpy(got, CMSG_DATA(CMSG_FIRSTHDR(&mixed)), sizeof *got);
    close(got[0]), close(file);
    TRY(recv(pair[1], parts, sizeof parts, MSG_DONTWAIT));
    fds[0] = 99;
    TRY(send_fds(fds, 1));
    int end[2];
    CHECK(pipe(end) == 0);
    TRY(send_fds(&end[1], 1));
    close(end[1]);
    struct iovec none = {buffer, 1};
    TRY(readv(pair[1], &none, 1)); /* read() drops what came along, and so the last writer */
    TRY(read(end[0], buffer, 1));
    TRY(send_fds(&pair[1], 1)); /* a socket that holds itself: collected when the last name is gone */
    close(pair[0]), close(pair[1]);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(pipe(end) == 0);
    pid_t child = CHILD(receive_fds(got, 1, 0, &flags); CHECK(write(got[0], "from the child", 14) == 14));
    TRY(send_fds(&end[1], 1));
    char text[20] = {0};
    TRY(read(end[0], text, 19));
    say("%s, %d\n", text, reap(child));
    return done();
}
