/* AF_UNIX datagrams and sequenced packets: boundaries, truncation, senders' names, end of file. */
#include "guest.h"
#include <sys/socket.h>
#include <sys/un.h>

int main(void)
{
    int pair[2];
    char buffer[100];
    scratch();
    int types[] = {SOCK_DGRAM, SOCK_SEQPACKET};
    for (int i = 0; i < 2; i++) {
        say("type %d\n", types[i]);
        CHECK(socketpair(AF_UNIX, types[i], 0, pair) == 0);
        TRY(send(pair[0], "first", 5, 0));
        TRY(send(pair[0], "second one", 10, 0));
        TRY(send(pair[0], "", 0, 0));
        TRY(recv(pair[1], buffer, 100, MSG_PEEK));
        TRY(recv(pair[1], buffer, 3, 0));
        TRY(recv(pair[1], buffer, 3, MSG_TRUNC));
        TRY(recv(pair[1], buffer, 100, MSG_DONTWAIT));
        TRY(recv(pair[1], buffer, 100, MSG_DONTWAIT));
        struct iovec parts[2] = {{"abc", 3}, {"defg", 4}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        TRY(sendmsg(pair[0], &message, 0));
        char one[2], two[20];
        struct iovec into[2] = {{one, 2}, {two, 3}};
        message.msg_iov = into;
        TRY(recvmsg(pair[1], &message, 0));
        say("flags %x, %.2s %.3s\n", message.msg_flags & MSG_TRUNC, one, two);
        CHECK(close(pair[0]) == 0);
        TRY(recv(pair[1], buffer, 100, MSG_DONTWAIT));
        TRY(send(pair[1], "x", 1, MSG_NOSIGNAL));
        close(pair[1]);
    }
    struct sockaddr_un a = {AF_UNIX, "a"}, b = {AF_UNIX, "b"}, from;
    socklen_t size = sizeof from;
    int one = socket(AF_UNIX, SOCK_DGRAM, 0), two = socket(AF_UNIX, SOCK_DGRAM, 0);
    CHECK(bind(one, (void *)&a, sizeof a) == 0 && bind(two, (void *)&b, sizeof b) == 0);
    TRY(send(one, "x", 1, 0));
    TRY(sendto(one, "hello", 5, 0, (void *)&b, sizeof b));
    TRY(recvfrom(two, buffer, 100, 0, (void *)&from, &size));
    say("from %s\n", from.sun_path);
    TRY(connect(two, (void *)&a, sizeof a));
    TRY(send(two, "back", 4, 0));
    TRY(read(one, buffer, 100));
    TRY(sendto(one, "x", 1, 0, (void *)&(struct sockaddr_un){AF_UNIX, "nobody"}, sizeof a));
    return done();
}
