/* AF_UNIX streams: socket pairs, names in the file system and abstract ones, backlog, shutdown, options. */
#include "guest.h"
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static volatile int pipes;
static void on_pipe(int signal UNUSED) { pipes++; }

static struct sockaddr_un named(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    return address;
}

int main(void)
{
    int pair[2], waiting;
    char buffer[100] = {0};
    scratch();
    TRY(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    TRY(write(pair[0], "hello", 5));
    TRY(recv(pair[1], buffer, 3, MSG_PEEK));
    CHECK(ioctl(pair[1], FIONREAD, &waiting) == 0);
    say("peeked %s, waiting %d\n", buffer, waiting);
    TRY(recv(pair[1], buffer, 100, 0));
    TRY(recv(pair[1], buffer, 100, MSG_DONTWAIT));
    TRY(send(pair[1], "abcdef", 6, 0));
    TRY(recv(pair[0], buffer, 2, MSG_WAITALL));
    TRY(shutdown(pair[1], SHUT_WR));
    TRY(recv(pair[0], buffer, 100, 0));
    TRY(recv(pair[0], buffer, 100, 0));
    TRY(write(pair[0], "still", 5));
    handle(SIGPIPE, 0, on_pipe);
    TRY(write(pair[1], "no", 2));
    TRY(send(pair[1], "no", 2, MSG_NOSIGNAL));
    say("SIGPIPE %d\n", pipes);
    struct pollfd polled = {pair[0], POLLIN | POLLOUT | POLLRDHUP, 0};
    poll(&polled, 1, 0);
    say("half closed %x\n", polled.revents);
    close(pair[1]);
    poll(&polled, 1, 0);
    say("closed %x\n", polled.revents);
    TRY(read(pair[0], buffer, 10));

    int listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = named("s"), other = named("nobody"), peer;
    socklen_t size = sizeof peer;
    TRY(connect(client, (void *)&other, sizeof other));
    TRY(bind(listener, (void *)&address, sizeof address));
    TRY(bind(listener, (void *)&other, sizeof other));
    int second = socket(AF_UNIX, SOCK_STREAM, 0);
    TRY(bind(second, (void *)&address, sizeof address));
    TRY(connect(client, (void *)&address, sizeof address));
    TRY(listen(listener, 4));
    struct stat st;
    CHECK(stat("s", &st) == 0 && S_ISSOCK(st.st_mode));
    TRY(connect(client, (void *)&address, sizeof address));
    TRY(connect(client, (void *)&address, sizeof address));
    int server = accept4(listener, (void *)&peer, &size, SOCK_NONBLOCK);
    say("accepted, peer's name has %d bytes\n", size);
    size = sizeof peer;
    CHECK(getpeername(client, (void *)&peer, &size) == 0);
    say("connected to %s\n", peer.sun_path);
    struct ucred creds;
    size = sizeof creds;
    CHECK(getsockopt(server, SOL_SOCKET, SO_PEERCRED, &creds, &size) == 0 && creds.pid == getpid() && creds.uid == getuid());
    TRY(read(server, buffer, 1));
    TRY(write(client, "x", 1));
    TRY(read(server, buffer, 10));
    int type, error;
    size = sizeof type;
    getsockopt(client, SOL_SOCKET, SO_TYPE, &type, &size);
    getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &size);
    say("type %d error %d\n", type, error);
    TRY(setsockopt(client, SOL_SOCKET, SO_SNDBUF, &(int){50000}, 4));
    TRY(setsockopt(client, IPPROTO_TCP, 1, &(int){1}, 4)); /* TCP_NODELAY */
    TRY(getsockopt(client, IPPROTO_TCP, 1, &type, &size));
    TRY(getsockopt(client, SOL_SOCKET, 12345, &type, &size));
    gid_t groups[NGROUPS_MAX];
    int in = getgroups(NGROUPS_MAX, groups);
    size = sizeof groups;
    CHECK(getsockopt(server, SOL_SOCKET, SO_PEERGROUPS, groups, &size) == 0);
    say("groups %d\n", size == in * sizeof *groups);
    int pairs[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs) == 0);
    pid_t other_writer = CHILD(CHECK(write(pairs[1], "one", 3) == 3));
    CHECK(reap(other_writer) == 0 && write(pairs[1], "two", 3) == 3);
    TRY(read(pairs[0], buffer, 100)); /* of two writers, which nobody asked for */
    TRY(unlink("s"));
    TRY(connect(second, (void *)&address, sizeof address));
    struct sockaddr_un abstract = {AF_UNIX, "\0pysc-guest-test"};
    socklen_t length = offsetof(struct sockaddr_un, sun_path) + 16;
    int hidden = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(hidden, (void *)&abstract, length) == 0 && listen(hidden, 1) == 0);
    pid_t child = CHILD(int to = socket(AF_UNIX, SOCK_STREAM, 0); CHECK(connect(to, (void *)&abstract, length) == 0);
                        CHECK(write(to, "abstract", 8) == 8));
    server = accept(hidden, NULL, NULL);
    TRY(read(server, buffer, 100));
    reap(child);
    TRY(read(server, buffer, 100));
    TRY(socket(AF_UNIX, 77, 0));
    TRY(socket(AF_UNIX, SOCK_STREAM, 99));
    TRY(socket(12345, SOCK_STREAM, 0));
    TRY(accept(second, NULL, NULL));
    TRY(listen(1, 1));
    TRY(getsockname(99, (void *)&peer, &size));
    struct sockaddr_un nowhere = {AF_UNIX, "no/s"}, another = {AF_UNIX, "another"}; /* it has a name */
    TRY(bind(hidden, (void *)&nowhere, sizeof nowhere));
    TRY(bind(hidden, (void *)&another, sizeof another));
    TRY(access("another", F_OK));
    CHECK(mkdir("another", 0700) == 0);
    TRY(bind(hidden, (void *)&another, sizeof another));
    TRY(bind(hidden, (void *)&abstract, length));
    TRY(bind(hidden, (void *)&abstract, sizeof(sa_family_t)));
    size = sizeof peer;
    CHECK(getsockname(hidden, (void *)&peer, &size) == 0);
    say("%d %.15s\n", (int)size, peer.sun_path + 1);
    return done();
}
