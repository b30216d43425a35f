/* POSIX message queues: names, which message comes, who waits for one or for room and how that ends, who is told, limits,
 * and the file system that the names are in. */
#include "guest.h"
#include <grp.h>
#include <mqueue.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>

static char name[32], other[40];
static char text[9000];
static volatile int handled;
static void on_signal(int signal UNUSED) { handled++; }

/* The calls themselves: what a library checks before them is not ours. */
static long sys_open(const char *what, int flags, int mode, void *attr) { return syscall(SYS_mq_open, what, flags, mode, attr); }
static long sys_unlink(const char *what) { return syscall(SYS_mq_unlink, what); }
static long sys_send(int q, const void *data, size_t size, unsigned priority, const void *end)
{
    return syscall(SYS_mq_timedsend, q, data, size, priority, end);
}
static long sys_receive(int q, void *data, size_t size, unsigned *priority, const void *end)
{
    return syscall(SYS_mq_timedreceive, q, data, size, priority, end);
}
static long sys_attr(int q, const void *new, void *old) { return syscall(SYS_mq_getsetattr, q, new, old); }
static long sys_notify(int q, const void *event) { return syscall(SYS_mq_notify, q, event); }

static int make(long messages, long size, int flags)
{
    struct mq_attr attr = {.mq_maxmsg = messages, .mq_msgsize = size};
    int q = sys_open(name, O_RDWR | O_CREAT | O_EXCL | flags, 0600, &attr);
    CHECK(q >= 0);
    return q;
}

static void gone(int q) { CHECK(close(q) == 0 && sys_unlink(name) == 0); }

static long put(int q, const char *what, unsigned priority) { return sys_send(q, what, strlen(what), priority, NULL); }

static void get(const char *what, int q)
{
    unsigned priority = 77;
    memset(text, 0, sizeof text);
    long size = sys_receive(q, text, sizeof text, &priority, NULL);
    if (size < 0)
        say("%s: %s\n", what, strerrorname_np(errno));
    else
        say("%s: %ld bytes, priority %u: %s\n", what, size, priority, text);
}

static struct timespec in(long milliseconds)
{
    struct timespec end;
    CHECK(clock_gettime(CLOCK_REALTIME, &end) == 0);
    end.tv_nsec += milliseconds % 1000 * 1000000;
    end.tv_sec += milliseconds / 1000 + end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    return end;
}

static void show(int q)
{
    struct mq_attr attr;
    CHECK(sys_attr(q, NULL, &attr) == 0);
    say("%s, at most %ld of %ld, now %ld\n", attr.mq_flags == O_NONBLOCK ? "O_NONBLOCK" : "waits", attr.mq_maxmsg, attr.mq_msgsize,
        attr.mq_curmsgs);
}

/* Return once a process waits, or has stopped; in a call it may also be for a moment before it waits. */
static void until(pid_t pid, char wanted)
{
    char path[64], line[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    for (int often = 0; often < 5;) {
        nap(2);
        int file = open(path, O_RDONLY);
        CHECK(file >= 0 && read(file, line, sizeof line - 1) > 0 && close(file) == 0);
        often = strrchr(line, ')')[2] == wanted ? often + 1 : 0;
    }
}

static void become(int uid) { CHECK(setgroups(0, NULL) == 0 && setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0); }

static void names(void)
{
    char path[64], shown[64] = "", longest[300];
    memset(longest, 'x', sizeof longest);
    longest[256] = 0;
    umask(027);
    int q = sys_open(name, O_RDWR | O_CREAT, 0666, NULL);
    CHECK(q >= 0);
    show(q);
    struct stat st;
    CHECK(fstat(q, &st) == 0);
    say("mode %o, %ld bytes, %ld links\n", st.st_mode, (long)st.st_size, (long)st.st_nlink);
    umask(022);
    TRY(fcntl(q, F_GETFD));
    TRY(fcntl(q, F_GETFL) == O_RDWR);
    TRY(sys_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, NULL));
    TRY(sys_open(name, O_ACCMODE, 0, NULL));
    TRY(sys_open(name, O_RDWR, 0, BAD));
    TRY(sys_open(BAD, O_RDWR, 0, NULL));
    TRY(sys_open(other, O_RDWR, 0, NULL));
    TRY(sys_open("", O_RDWR | O_CREAT, 0600, NULL));
    TRY(sys_open(".", O_RDWR, 0, NULL));
    TRY(sys_open("..", O_RDWR | O_CREAT, 0600, NULL));
    TRY(sys_open("/pysc", O_RDWR | O_CREAT, 0600, NULL));
    TRY(sys_open("a/b", O_RDWR | O_CREAT, 0600, NULL));
    TRY(sys_open(longest, O_RDWR | O_CREAT, 0600, NULL));
    TRY(sys_unlink(other));
    TRY(sys_unlink(""));
    TRY(sys_unlink("."));
    TRY(sys_unlink("a/b"));
    TRY(sys_unlink(longest));
    TRY(sys_unlink(BAD));
    snprintf(path, sizeof path, "/proc/self/fd/%d", q);
    CHECK(readlink(path, shown, sizeof shown - 1) > 0);
    TRY(shown[0] == '/' && !strcmp(shown + 1, name));
    CHECK(put(q, "kept", 3) == 0);
    int again = sys_open(name, O_RDONLY | O_NONBLOCK, 0, NULL), writes = sys_open(name, O_WRONLY, 0, NULL);
    CHECK(again >= 0 && writes >= 0 && sys_unlink(name) == 0);
    TRY(sys_open(name, O_RDWR, 0, NULL));
    CHECK(fstat(q, &st) == 0);
    say("%ld links\n", (long)st.st_nlink);
    TRY(put(again, "x", 0));
    TRY(sys_receive(writes, text, sizeof text, NULL, NULL));
    get("of what has no name", again);
    get("empty", again);
    int null = open("/dev/null", O_RDWR);
    TRY(put(null, "x", 0));
    TRY(sys_receive(null, text, sizeof text, NULL, NULL));
    TRY(sys_attr(null, NULL, NULL));
    TRY(sys_notify(null, NULL));
    TRY(put(-1, "x", 0));
    CHECK(close(null) == 0 && close(again) == 0 && close(writes) == 0 && close(q) == 0);
}

static void order(void)
{
    int q = make(8, 20, O_NONBLOCK);
    const unsigned priorities[] = {3, 32767, 0, 3, 5, 0, 3};
    char one[2] = "a";
    for (int i = 0; i < COUNT(priorities); i++, one[0]++)
        CHECK(put(q, one, priorities[i]) == 0);
    show(q);
    for (int i = 0; i < COUNT(priorities) + 1; i++)
        get("next", q);
    TRY(put(q, "x", 32768));
    TRY(put(q, "123456789012345678901", 0));
    TRY(put(q, "", 0));
    TRY(sys_send(q, BAD, 1, 0, NULL));
    TRY(sys_send(q, "", -1L, 0, NULL));
    TRY(sys_receive(q, text, 19, NULL, NULL));
    get("no bytes", q);
    CHECK(put(q, "lost", 0) == 0);
    TRY(sys_receive(q, BAD, 20, NULL, NULL));
    CHECK(put(q, "lost, too", 0) == 0);
    TRY(sys_receive(q, text, 20, BAD, NULL));
    get("nothing is left", q);
    for (int i = 0; i < 8; i++)
        CHECK(put(q, "full", i) == 0);
    TRY(put(q, "x", 0));
    struct mq_attr attr = {.mq_flags = O_NONBLOCK | O_APPEND};
    TRY(sys_attr(q, &attr, NULL));
    TRY(sys_attr(q, BAD, NULL));
    TRY(sys_attr(q, NULL, BAD));
    attr = (struct mq_attr){.mq_maxmsg = 99};
    TRY(sys_attr(q, &attr, &attr));
    say("it was %s\n", attr.mq_flags == O_NONBLOCK ? "O_NONBLOCK" : "something else");
    show(q);
    TRY(fcntl(q, F_GETFL) == O_RDWR);
    gone(q);
}

static void ends(void)
{
    int q = make(1, 8, 0);
    struct timespec past = {1, 0}, end = {-1, 0};
    TRY(sys_receive(q, text, 8, NULL, &past));
    TRY(sys_receive(q, text, 8, NULL, BAD));
    TRY(sys_receive(q, text, 8, NULL, &end));
    end = (struct timespec){1, 1000000000};
    TRY(sys_receive(q, text, 8, NULL, &end));
    TRY(sys_send(q, "x", 1, 0, &end));
    TRY(sys_send(q, "x", 1, 0, &past));
    TRY(sys_send(q, "x", 1, 0, &past));
    double began = seconds();
    end = in(60);
    TRY(sys_send(q, "x", 1, 0, &end));
    CHECK(seconds() - began > 0.05);
    TRY(sys_receive(q, text, 8, NULL, &past));
    began = seconds();
    end = in(60);
    TRY(sys_receive(q, text, 8, NULL, &end));
    CHECK(seconds() - began > 0.05);
    pid_t child = CHILD(nap(30); CHECK(put(q, "in time", 4) == 0));
    end = in(60000);
    TRY(sys_receive(q, text, 8, NULL, &end));
    reap(child);
    gone(q);
}

static void waits(void)
{
    int q = make(1, 20, 0);
    pid_t child[3];
    for (int i = 0; i < 3; i++) {
        child[i] = CHILD(get(i == 0 ? "first" : i == 1 ? "second" : "third", q));
        until(child[i], 'S');
    }
    for (int i = 0; i < 3; i++) {
        CHECK(put(q, i == 0 ? "a" : i == 1 ? "b" : "c", i) == 0);
        reap(child[i]);
    }
    CHECK(put(q, "full", 0) == 0);
    for (unsigned i = 0; i < 3; i++) {
        child[i] = CHILD(CHECK(put(q, i == 0 ? "a" : i == 1 ? "b" : "c", 3 - i) == 0));
        until(child[i], 'S');
    }
    get("it was full", q);
    for (int i = 0; i < 3; i++) {
        reap(child[i]);
        get("it waited", q);
    }

    handle(SIGUSR1, 0, on_signal);
    child[0] = CHILD(TRY(sys_receive(q, text, 20, NULL, NULL)); say("handled %d\n", handled));
    until(child[0], 'S');
    kill(child[0], SIGUSR1);
    reap(child[0]);
    handle(SIGUSR1, SA_RESTART, on_signal);
    child[0] = CHILD(get("begun again", q); say("handled %d\n", handled));
    until(child[0], 'S');
    kill(child[0], SIGUSR1);
    until(child[0], 'S');
    CHECK(put(q, "came", 1) == 0);
    reap(child[0]);
    child[0] = CHILD(get("stopped, continued", q));
    until(child[0], 'S');
    kill(child[0], SIGSTOP);
    until(child[0], 'T');
    kill(child[0], SIGCONT);
    until(child[0], 'S');
    CHECK(put(q, "came", 1) == 0);
    reap(child[0]);
    child[0] = CHILD(get("killed", q));
    until(child[0], 'S');
    kill(child[0], SIGKILL);
    reap(child[0]);
    CHECK(put(q, "kept", 0) == 0);
    child[0] = CHILD(CHECK(put(q, "not sent", 0) == 0));
    until(child[0], 'S');
    kill(child[0], SIGKILL);
    reap(child[0]);
    get("nobody took it", q);
    show(q);
    child[0] = CHILD(get("without a name", q));
    until(child[0], 'S');
    CHECK(sys_unlink(name) == 0 && put(q, "x", 0) == 0);
    reap(child[0]);
    CHECK(close(q) == 0);
}

static void told(void)
{
    int q = make(4, 20, O_NONBLOCK);
    sigset_t set = set_of(SIGRTMIN);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    siginfo_t info;
    struct timespec none = {0}, soon = {5, 0};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 42};
    char line[100] = "";
    TRY(sys_notify(q, &event));
    TRY(sys_notify(q, &event));
    CHECK(reap(CHILD(TRY(sys_notify(q, &event)); TRY(sys_notify(q, NULL)); CHECK(close(q) == 0))) == 0);
    CHECK(read(q, line, sizeof line) == 60);
    say("%.23s%d\n", line, atoi(strstr(line, "SIGNO:") + 6) == SIGRTMIN);
    CHECK(atoi(strstr(line, "PID:") + 4) == getpid());
    pid_t child = CHILD(CHECK(put(q, "a", 0) == 0));
    CHECK(reap(child) == 0 && sigtimedwait(&set, &info, &soon) == SIGRTMIN);
    say("code %d, value %d, sender %d %d\n", info.si_code, info.si_value.sival_int, info.si_pid == child, info.si_uid == getuid());
    CHECK(pread(q, line, sizeof line, 0) == 60);
    say("%s", line);
    TRY(sys_notify(q, &event));
    CHECK(put(q, "b", 0) == 0);
    get("it was not empty", q);
    get("", q);
    TRY(sigtimedwait(&set, &info, &none));
    child = CHILD(int mine = sys_open(name, O_RDONLY, 0, NULL); get("who waits is first", mine));
    until(child, 'S');
    CHECK(put(q, "c", 0) == 0);
    reap(child);
    TRY(sigtimedwait(&set, &info, &none));
    CHECK(put(q, "d", 0) == 0);
    TRY(sigtimedwait(&set, &info, &soon) == SIGRTMIN);
    get("then", q);
    TRY(sys_notify(q, &event));
    int copy = dup(q);
    CHECK(close(copy) == 0 && put(q, "e", 0) == 0);
    TRY(sigtimedwait(&set, &info, &none));
    get("closed", q);
    CHECK(reap(CHILD(TRY(sys_notify(q, &event)))) == 0);
    event.sigev_notify = SIGEV_NONE;
    TRY(sys_notify(q, &event));
    TRY(sys_notify(q, &event));
    TRY(sys_notify(q, NULL));
    TRY(sys_notify(q, NULL));
    event.sigev_notify = 9;
    TRY(sys_notify(q, &event));
    TRY(sys_notify(q, BAD));
    event.sigev_notify = SIGEV_SIGNAL;
    for (int i = 0; i < 3; i++) {
        event.sigev_signo = i - 1 + (i == 2) * 64;
        TRY(sys_notify(q, &event));
    }
    CHECK(put(q, "f", 0) == 0);
    get("no signal", q);
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    event = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_signo = q, .sigev_value.sival_ptr = text};
    TRY(sys_notify(q, &event));
    event.sigev_signo = pair[0];
    TRY(sys_notify(q, &event));
    event.sigev_signo = 999;
    TRY(sys_notify(q, &event));
    event.sigev_value.sival_ptr = NULL;
    TRY(sys_notify(q, &event));
    CHECK(close(pair[0]) == 0 && close(pair[1]) == 0);
    gone(q);
}

static void ready(void)
{
    int q = make(2, 20, 0), epoll = epoll_create1(0);
    struct pollfd one = {.fd = q, .events = POLLIN | POLLOUT};
    struct epoll_event event = {.events = EPOLLIN | EPOLLET}, got;
    CHECK(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, q, &event) == 0);
    CHECK(poll(&one, 1, 0) == 1);
    say("empty: %#x, %d\n", one.revents, epoll_wait(epoll, &got, 1, 0));
    CHECK(put(q, "a", 0) == 0 && poll(&one, 1, 0) == 1);
    say("one: %#x, %d %d\n", one.revents, epoll_wait(epoll, &got, 1, 0), epoll_wait(epoll, &got, 1, 0));
    CHECK(put(q, "b", 0) == 0 && poll(&one, 1, 0) == 1);
    say("full: %#x\n", one.revents);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(q, &set);
    pid_t child = CHILD(nap(30); CHECK(sys_receive(q, text, 20, NULL, NULL) == 1));
    TRY(select(q + 1, NULL, &set, NULL, NULL));
    reap(child);
    get("the last", q);
    child = CHILD(nap(30); CHECK(put(q, "late", 0) == 0));
    one.events = POLLIN;
    TRY(poll(&one, 1, 10000));
    reap(child);
    CHECK(close(epoll) == 0);
    gone(q);
}

static void of_a_user(void)
{
    struct rlimit limit = {10000, 10000};
    CHECK(setrlimit(RLIMIT_MSGQUEUE, &limit) == 0);
    become(1234);
    struct mq_attr attr = {.mq_maxmsg = 11, .mq_msgsize = 10};
    TRY(sys_open(name, O_RDWR | O_CREAT, 0600, &attr));
    attr = (struct mq_attr){.mq_maxmsg = 1, .mq_msgsize = 8193};
    TRY(sys_open(name, O_RDWR | O_CREAT, 0600, &attr));
    attr = (struct mq_attr){.mq_maxmsg = 1, .mq_msgsize = 8192};
    int q = sys_open(name, O_RDWR | O_CREAT, 0600, &attr);
    CHECK(q >= 0);
    attr.mq_msgsize = 10000 - 8192 - 96 - 96 + 1;
    TRY(sys_open(other, O_RDWR | O_CREAT, 0600, &attr));
    attr.mq_msgsize--;
    int last = sys_open(other, O_RDWR | O_CREAT, 0600, &attr);
    CHECK(last >= 0);
    CHECK(sys_unlink(name) == 0 && sys_unlink(other) == 0);
    attr.mq_msgsize = 1;
    TRY(sys_open(name, O_RDWR | O_CREAT, 0600, &attr));
    CHECK(close(last) == 0);
    TRY_OK(sys_open(name, O_RDWR | O_CREAT, 0600, &attr));
    CHECK(sys_unlink(name) == 0);
    struct rlimit files = {q + 1, q + 1};
    CHECK(close(q) == 0);
    q = sys_open(name, O_RDWR | O_CREAT, 0600, &attr);
    CHECK(q >= 0 && setrlimit(RLIMIT_NOFILE, &files) == 0);
    while (dup(q) >= 0)
        ;
    TRY(sys_open(other, O_RDWR | O_CREAT, 0600, NULL));
    TRY(sys_unlink(other));
    CHECK(sys_unlink(name) == 0);
}

static void limits(void)
{
    struct mq_attr attr = {.mq_maxmsg = 0, .mq_msgsize = 10};
    TRY(sys_open(name, O_RDWR | O_CREAT, 0600, &attr));
    attr = (struct mq_attr){.mq_maxmsg = 10, .mq_msgsize = -1};
    TRY(sys_open(name, O_RDWR | O_CREAT, 0600, &attr));
    attr = (struct mq_attr){.mq_maxmsg = 65537, .mq_msgsize = 8};
    TRY(sys_open(name, O_RDWR | O_CREAT, 0600, &attr));
    attr = (struct mq_attr){.mq_maxmsg = 1, .mq_msgsize = 16777217};
    TRY(sys_open(name, O_RDWR | O_CREAT, 0600, &attr));
    if (geteuid() != 0)
        return;
    CHECK(reap(CHILD(of_a_user())) == 0);
    int q = make(1, 10, 0);
    CHECK(fchmod(q, 0640) == 0);
    CHECK(reap(CHILD(become(1234); TRY(sys_open(name, O_RDONLY, 0, NULL)); TRY(sys_open(name, O_WRONLY | O_CREAT, 0600, NULL));
                     TRY(sys_unlink(name)))) == 0);
    CHECK(fchmod(q, 0604) == 0);
    CHECK(reap(CHILD(become(1234); TRY(sys_open(name, O_RDWR, 0, NULL)); TRY_OK(sys_open(name, O_RDONLY, 0, NULL)))) == 0);
    gone(q);
}

static void files(void)
{
    struct stat st;
    char line[100] = "", path[96], second[96];
    scratch();
    CHECK(mkdir("here", 0700) == 0);
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("mq", "here", "mqueue", 0, NULL) < 0)
        skip("needs to mount");
    TRY(mount("mq", "here", "mqueue", 0, "mode=700"));
    CHECK(stat("here", &st) == 0);
    say("mode %o, %ld links\n", st.st_mode, (long)st.st_nlink);
    int q = make(4, 20, 0);
    snprintf(path, sizeof path, "here/%s", name);
    snprintf(second, sizeof second, "here/%s", other);
    CHECK(put(q, "12345", 0) == 0 && stat(path, &st) == 0);
    say("mode %o, %ld bytes\n", st.st_mode, (long)st.st_size);
    int file = open(path, O_RDWR | O_NONBLOCK);
    CHECK(file >= 0 && read(file, line, sizeof line) == 60);
    say("%s", line);
    TRY(read(file, line, sizeof line));
    TRY(lseek(file, 0, SEEK_END));
    TRY(lseek(file, -1, SEEK_SET));
    TRY(lseek(file, 6, SEEK_SET));
    TRY(read(file, line, 1));
    TRY(write(file, "x", 1));
    TRY(fsync(file));
    TRY(mmap(NULL, 1, PROT_READ, MAP_SHARED, file, 0) == MAP_FAILED);
    TRY(ftruncate(file, 0));
    get("by the name of the file", file);
    TRY(chmod(path, 0400));
    TRY(chown(path, 1234, 1234));
    CHECK(fstat(q, &st) == 0);
    say("mode %o, %d %d\n", st.st_mode, st.st_uid, st.st_gid);
    TRY(rename(path, second));
    TRY(link(path, second));
    TRY(symlink("x", second));
    TRY(mkdir(second, 0700));
    TRY(mknod(second, S_IFIFO | 0600, 0));
    int made = open(second, O_RDWR | O_CREAT | O_EXCL, 0600), found = sys_open(other, O_RDWR, 0, NULL);
    CHECK(made >= 0 && found >= 0);
    show(made);
    CHECK(put(made, "both", 1) == 0);
    get("are one", found);
    TRY(unlink(second));
    TRY(sys_open(other, O_RDWR, 0, NULL));
    TRY(sys_unlink(name));
    TRY(stat(path, &st));
    CHECK(close(q) == 0 && close(file) == 0 && close(made) == 0 && close(found) == 0);
    TRY(umount("here"));
}

int main(void)
{
    if (sys_unlink("pysc-none") < 0 && errno == ENOSYS)
        skip("this kernel has no message queues");
    snprintf(name, sizeof name, "pysc-guest-%d", getpid());
    snprintf(other, sizeof other, "%s-other", name);
    names();
    order();
    ends();
    waits();
    told();
    ready();
    limits();
    files();
    return done();
}
