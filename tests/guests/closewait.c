/* Descriptors that are closed, or stand for something else, while another thread waits with them: who waits has the file
 * itself, until its call ends in whatever way. */
#include "guest.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

static int end[2];
static void on_usr1(int signal UNUSED) {}

/* A thread that makes one call. */
struct waiter {
    pthread_t thread;
    volatile pid_t tid;
    long (*call)(int fd, struct waiter *waiter);
    int fd;
    long result;
    int error;
    char bytes[8];
};

static void *run(void *argument)
{
    struct waiter *waiter = argument;
    waiter->tid = gettid();
    errno = 0;
    waiter->result = waiter->call(waiter->fd, waiter);
    waiter->error = errno;
    return NULL;
}

static char state_of(pid_t pid, pid_t tid)
{
    char text[512] = {0}, path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, tid);
    int file = open(path, O_RDONLY);
    CHECK(file >= 0 && read(file, text, sizeof text - 1) > 0 && close(file) == 0);
    return strrchr(text, ')')[2];
}

static void until(pid_t pid, pid_t tid, char wanted)
{
    while (state_of(pid, tid) != wanted)
        nap(1);
}

static void begin(struct waiter *waiter, long (*call)(int, struct waiter *), int fd)
{
    *waiter = (struct waiter){.call = call, .fd = fd};
    CHECK(pthread_create(&waiter->thread, NULL, run, waiter) == 0);
    while (!waiter->tid)
        nap(1);
    until(getpid(), waiter->tid, 'S');
}

static void tell(struct waiter *waiter, const char *what)
{
    CHECK(pthread_join(waiter->thread, NULL) == 0);
    say("%s: %ld %s '%.8s'\n", what, waiter->result, waiter->result < 0 ? strerrorname_np(waiter->error) : "", waiter->bytes);
}

static long by_read(int fd, struct waiter *waiter) { return read(fd, waiter->bytes, 4); }
static long by_readv(int fd, struct waiter *waiter)
{
    struct iovec parts[] = {{waiter->bytes, 2}, {waiter->bytes + 2, 2}};
    return readv(fd, parts, 2);
}
static long by_preadv2(int fd, struct waiter *waiter)
{
    struct iovec part = {waiter->bytes, 4};
    return preadv2(fd, &part, 1, -1, 0);
}
static long by_counter(int fd, struct waiter *waiter)
{
    uint64_t value = 0;
    long result = read(fd, &value, sizeof value);
    snprintf(waiter->bytes, sizeof waiter->bytes, "%ld", (long)value);
    return result;
}
static long by_write(int fd, struct waiter *waiter UNUSED)
{
    static char many[100000];
    return write(fd, many, sizeof many);
}
static long by_poll(int fd, struct waiter *waiter)
{
    struct pollfd polled[] = {{fd, POLLIN, 0}, {fd, POLLIN, 0}};
    long result = poll(polled, 2, 10000);
    snprintf(waiter->bytes, sizeof waiter->bytes, "%x", polled[0].revents & polled[1].revents);
    return result;
}
static long by_select(int fd, struct waiter *waiter)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    long result = select(fd + 1, &set, NULL, NULL, NULL);
    snprintf(waiter->bytes, sizeof waiter->bytes, "%d", FD_ISSET(fd, &set) != 0);
    return result;
}
static long by_epoll(int fd, struct waiter *waiter)
{
    struct epoll_event event = {0};
    long result = epoll_wait(fd, &event, 1, 10000);
    snprintf(waiter->bytes, sizeof waiter->bytes, "%x", event.events);
    return result;
}
static long by_recv(int fd, struct waiter *waiter) { return recv(fd, waiter->bytes, 4, 0); }
static long by_recvmsg(int fd, struct waiter *waiter)
{
    struct iovec part = {waiter->bytes, 4};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    return recvmsg(fd, &message, 0);
}
static long by_accept(int fd, struct waiter *waiter UNUSED)
{
    int accepted = accept(fd, NULL, NULL);
    return accepted < 0 ? accepted : close(accepted);
}
static long by_splice(int fd, struct waiter *waiter UNUSED)
{
    int to[2];
    CHECK(pipe(to) == 0);
    long result = splice(fd, NULL, to[1], NULL, 4, 0);
    int error = errno;
    CHECK(close(to[0]) == 0 && close(to[1]) == 0);
    errno = error;
    return result;
}

static void again(void)
{
    close(end[0]), close(end[1]);
    CHECK(pipe(end) == 0);
}

static int writable(void)
{
    struct pollfd polled = {end[1], POLLOUT, 0};
    CHECK(poll(&polled, 1, 0) == 1);
    return polled.revents;
}

static void closed_under(const char *name, long (*call)(int, struct waiter *))
{
    struct waiter waiter;
    again();
    begin(&waiter, call, end[0]);
    CHECK(close(end[0]) == 0);
    say("%s: while it waits %x\n", name, writable());
    CHECK(write(end[1], "abcd", 4) == 4);
    tell(&waiter, name);
    TRY(write(end[1], "e", 1));
    say("afterwards %x\n", writable());
}

/* Time is over for who polls what has been closed, or is another file, for which it has never waited. */
static long by_short_poll(int fd, struct waiter *waiter)
{
    struct pollfd polled = {fd, POLLIN, 0};
    long result = poll(&polled, 1, 400);
    snprintf(waiter->bytes, sizeof waiter->bytes, "%x", polled.revents);
    return result;
}

static void timed_out(void)
{
    struct waiter waiter;
    int other[2];
    again();
    begin(&waiter, by_short_poll, end[0]);
    CHECK(close(end[0]) == 0);
    say("before its time is over %x\n", writable());
    tell(&waiter, "closed");
    say("after that %x\n", writable());
    again();
    CHECK(pipe(other) == 0);
    begin(&waiter, by_short_poll, end[0]);
    CHECK(dup2(other[0], end[0]) == end[0] && write(other[1], "e", 1) == 1);
    tell(&waiter, "replaced, and ready");
    CHECK(read(other[0], waiter.bytes, 1) == 1);
    begin(&waiter, by_short_poll, end[0]);
    tell(&waiter, "nothing");
    CHECK(close(other[0]) == 0 && close(other[1]) == 0);
}

static void replaced_under(const char *name, long (*call)(int, struct waiter *))
{
    struct waiter waiter;
    int other[2], file = -1;
    again();
    begin(&waiter, call, end[0]);
    CHECK(pipe(other) == 0 && write(other[1], "no", 2) == 2 && dup2(other[0], end[0]) == end[0]);
    nap(5);
    CHECK(write(end[1], "abcd", 4) == 4);
    tell(&waiter, name);
    TRY(write(end[1], "e", 1));
    CHECK(read(end[0], waiter.bytes, 8) == 2 && close(end[0]) == 0 && close(other[0]) == 0 && close(other[1]) == 0);

    again();
    begin(&waiter, call, end[0]);
    CHECK(close(end[0]) == 0 && (file = open("/dev/zero", O_RDONLY)) == end[0]);
    nap(5);
    CHECK(write(end[1], "efgh", 4) == 4);
    tell(&waiter, name);
    TRY(write(end[1], "e", 1));
    CHECK(close(file) == 0);
}

/* Signals end the wait, so the file is gone; and the call that is made again finds what the number means now. */
static void interrupted(void)
{
    struct waiter waiter;
    for (int flags = 0; flags <= SA_RESTART; flags += SA_RESTART) {
        handle(SIGUSR1, flags, on_usr1);
        again();
        begin(&waiter, by_read, end[0]);
        CHECK(close(end[0]) == 0 && pthread_kill(waiter.thread, SIGUSR1) == 0);
        tell(&waiter, flags ? "begun again" : "interrupted");
        TRY(write(end[1], "e", 1));
    }
}

static void stopped(void)
{
    struct waiter waiter;
    again();
    begin(&waiter, by_read, end[0]);
    CHECK(close(end[0]) == 0);
    CHECK(kill(getpid(), SIGSTOP) == 0);
    tell(&waiter, "stopped for a while");
    TRY(write(end[1], "e", 1));
}

/* Have the last descriptor that can be read, wait with it when it is closed, and end. */
static void end_beside_waiter(const char *how, int ready[2], int go[2])
{
    struct waiter waiter;
    char byte;
    begin(&waiter, by_read, end[0]);
    CHECK(close(end[0]) == 0 && close(end[1]) == 0 && write(ready[1], "r", 1) == 1);
    CHECK(read(go[0], &byte, 1) == 1);
    if (*how == 'e')
        _exit(3);
    CHECK(dup2(go[0], 0) == 0 && dup2(ready[1], 1) == 1);
    if (*how == 'b')
        execl("/proc/self/exe", "closewait", "waits", NULL);
    pause();
}

static void ended(const char *how)
{
    int ready[2], go[2];
    char byte;
    again();
    CHECK(pipe(ready) == 0 && pipe(go) == 0);
    pid_t child = CHILD(end_beside_waiter(how, ready, go));
    CHECK(close(end[0]) == 0 && read(ready[0], &byte, 1) == 1);
    say("%s: while it waits %x\n", how, writable());
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = 0};
    CHECK(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, end[1], &event) == 0);
    if (*how == 'k')
        kill(child, SIGKILL);
    else
        CHECK(write(go[1], "g", 1) == 1);
    if (strchr(how, ','))
        say("%s: %d\n", how, reap(child));
    else
        CHECK(epoll_wait(epoll, &event, 1, -1) == 1);
    say("%s: %x %x\n", how, event.events, writable());
    TRY(write(end[1], "e", 1));
    if (*how == 'b')
        CHECK(read(ready[0], &byte, 1) == 1 && byte == 'x' && write(go[1], "g", 1) == 1);
    if (!strchr(how, ','))
        say("%s: %d\n", how, reap(child));
    CHECK(close(epoll) == 0 && close(ready[0]) == 0 && close(ready[1]) == 0 && close(go[0]) == 0 && close(go[1]) == 0);
}

/* What it gets in the end it has lost by then: nobody finds it locked. */
static long by_lock(int fd, struct waiter *waiter UNUSED)
{
    struct flock range = {.l_type = F_WRLCK, .l_len = 5};
    return fcntl(fd, F_SETLKW, &range);
}
static void locked(void)
{
    struct flock range = {.l_type = F_WRLCK, .l_len = 5};
    struct waiter waiter;
    int file = open("locked", O_RDWR | O_CREAT, 0600), go[2];
    char byte;

    CHECK(file >= 0 && pipe(go) == 0);
    pid_t child = CHILD(CHECK(fcntl(file, F_SETLK, &range) == 0); write(go[1], "x", 1); pause());
    CHECK(read(go[0], &byte, 1) == 1);
    begin(&waiter, by_lock, file);
    CHECK(close(file) == 0 && kill(child, SIGKILL) == 0 && reap(child) == -SIGKILL);
    tell(&waiter, "fcntl");
    reap(CHILD(CHECK((file = open("locked", O_RDWR)) >= 0); TRY(fcntl(file, F_SETLK, &range))));
    CHECK(close(go[0]) == 0 && close(go[1]) == 0);
}

int main(int argc, char **argv UNUSED)
{
    struct waiter waiter, other;
    char byte;
    if (argc > 1)
        return write(1, "x", 1) == 1 && read(0, &byte, 1) == 1 ? 9 : 1;
    scratch();
    handle(SIGPIPE, 0, SIG_IGN);
    CHECK(pipe(end) == 0);

    closed_under("read", by_read);
    closed_under("readv", by_readv);
    closed_under("preadv2", by_preadv2);
    closed_under("splice", by_splice);
    closed_under("poll", by_poll);
    closed_under("select", by_select);
    timed_out();
    locked();
    replaced_under("read", by_read);
    replaced_under("readv", by_readv);
    replaced_under("splice", by_splice);
    replaced_under("poll", by_poll);
    replaced_under("select", by_select);

    again();
    begin(&waiter, by_read, end[0]);
    begin(&other, by_read, end[0]);
    CHECK(close(end[0]) == 0 && write(end[1], "ab", 2) == 2);
    while (!waiter.result && !other.result)
        nap(1);
    CHECK(write(end[1], "cd", 2) == 2);
    CHECK(pthread_join(waiter.thread, NULL) == 0 && pthread_join(other.thread, NULL) == 0);
    say("two readers: %ld %ld\n", waiter.result, other.result);
    TRY(write(end[1], "e", 1));

    again();
    begin(&waiter, by_read, end[0]);
    CHECK(close(end[0]) == 0 && close(end[1]) == 0);
    tell(&waiter, "both ends");

    again();
    begin(&waiter, by_write, end[1]);
    CHECK(close(end[1]) == 0);
    long got = 0, n;
    char part[4096];
    while ((n = read(end[0], part, sizeof part)) > 0)
        got += n;
    say("what was written when its end was closed: %ld %ld\n", got, n);
    tell(&waiter, "write");

    int counter = eventfd(0, 0), copy = dup(counter);
    begin(&waiter, by_counter, counter);
    CHECK(close(counter) == 0 && eventfd_write(copy, 7) == 0);
    tell(&waiter, "counter");
    CHECK((counter = eventfd(1, 0)) >= 0 && close(copy) == 0 && (copy = dup(counter)) >= 0 && read(copy, part, 8) == 8);
    begin(&waiter, by_counter, counter);
    int second = eventfd(5, 0);
    CHECK(dup2(second, counter) == counter);
    nap(5);
    CHECK(eventfd_write(copy, 8) == 0);
    tell(&waiter, "another counter");
    CHECK(close(counter) == 0 && close(copy) == 0 && close(second) == 0);

    close(end[0]), close(end[1]);
    CHECK(mkfifo("fifo", 0600) == 0 && (end[0] = open("fifo", O_RDONLY | O_NONBLOCK)) >= 0);
    CHECK((end[1] = open("fifo", O_WRONLY)) >= 0 && fcntl(end[0], F_SETFL, 0) == 0);
    begin(&waiter, by_read, end[0]);
    CHECK(close(end[0]) == 0 && write(end[1], "fifo", 4) == 4);
    tell(&waiter, "FIFO");
    TRY(write(end[1], "e", 1));

    again();
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, end[0], &event) == 0);
    begin(&waiter, by_epoll, epoll);
    CHECK(close(epoll) == 0 && write(end[1], "e", 1) == 1);
    tell(&waiter, "epoll");

    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    begin(&waiter, by_recv, pair[0]);
    CHECK(close(pair[0]) == 0 && send(pair[1], "recv", 4, 0) == 4);
    tell(&waiter, "recv");
    TRY(send(pair[1], "recv", 4, 0));
    CHECK(close(pair[1]) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    begin(&waiter, by_recvmsg, pair[0]);
    CHECK(close(pair[0]) == 0 && send(pair[1], "mess", 4, 0) == 4);
    tell(&waiter, "recvmsg");
    CHECK(close(pair[1]) == 0);

    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "socket"};
    int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(server, (struct sockaddr *)&name, sizeof name) == 0 && listen(server, 1) == 0);
    begin(&waiter, by_accept, server);
    CHECK(close(server) == 0);
    TRY(connect(client, (struct sockaddr *)&name, sizeof name));
    tell(&waiter, "accept");
    CHECK(close(client) == 0 && (client = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
    TRY(connect(client, (struct sockaddr *)&name, sizeof name));

    interrupted();
    int status;
    pid_t child = CHILD(stopped());
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status) && kill(child, SIGCONT) == 0 && reap(child) == 0);
    ended("exits");
    ended("killed");
    ended("exits, and is reaped");
    ended("killed, and is reaped");
    ended("becomes another program");
    for (int i = 0; i < 50; i++) { /* it may be about to wait just then */
        again();
        waiter = (struct waiter){.call = by_read, .fd = end[0]};
        CHECK(pthread_create(&waiter.thread, NULL, run, &waiter) == 0);
        if (i % 2)
            sched_yield();
        CHECK(close(end[0]) == 0);
        n = write(end[1], "ab", 2);
        CHECK(pthread_join(waiter.thread, NULL) == 0);
        CHECK(waiter.result == 2 ? n == 2 : waiter.result == -1 && waiter.error == EBADF);
        CHECK(write(end[1], "c", 1) == -1 && errno == EPIPE);
    }
    return done();
}
