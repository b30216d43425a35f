/* fcntl locks (of processes and of descriptions) and flock: conflicts, ranges, release, waiting, deadlock. */
#include "guest.h"
#include <sys/file.h>

static volatile int ticks;
static void tick(int signal UNUSED) { ticks++; }

static int lock(int fd, int command, int type, long start, long length)
{
    struct flock range = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    int result = fcntl(fd, command, &range);
    if (command == F_GETLK && result == 0)
        say("held: type %d start %ld len %ld, by somebody %d\n", range.l_type, (long)range.l_start, (long)range.l_len, range.l_pid > 0);
    return result;
}

/* What keeps `fd` from a lock of its description. */
static void ask(int fd, int type, long start, long length, pid_t whose)
{
    struct flock range = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

    TRY(fcntl(fd, F_OFD_GETLK, &range));
    if (range.l_type != F_UNLCK)
        say("held: type %d start %ld len %ld, by %s\n", range.l_type, (long)range.l_start, (long)range.l_len,
            range.l_pid == -1 ? "a description" : range.l_pid == whose ? "that process" : "somebody else");
}

static void of_descriptions(void)
{
    int fd = open("g", O_RDWR | O_CREAT, 0600), other = open("g", O_RDWR), copy = dup(fd), last = open("g", O_RDWR), go[2];
    struct flock range = {.l_type = F_WRLCK, .l_len = 1, .l_pid = 7};
    char byte;

    TRY(fcntl(fd, F_OFD_SETLK, &range));
    TRY(fcntl(fd, F_OFD_GETLK, &range));
    TRY(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 10));
    ask(copy, F_WRLCK, 0, 0, 0); /* its own is no obstacle */
    ask(other, F_RDLCK, 5, 100, 0);
    ask(other, F_RDLCK, 10, 100, 0);
    TRY(lock(fd, F_SETLK, F_WRLCK, 5, 1)); /* the process is another owner */
    lock(fd, F_GETLK, F_WRLCK, 5, 1);
    close(open("g", O_RDONLY)); /* drops the locks of the process, not these */
    TRY(lock(other, F_OFD_SETLK, F_RDLCK, 0, 1));
    reap(CHILD(TRY(lock(fd, F_OFD_SETLK, F_UNLCK, 0, 5)))); /* it has the description, too; its end drops nothing */
    TRY(lock(other, F_OFD_SETLK, F_WRLCK, 0, 5));
    TRY(lock(other, F_OFD_SETLK, F_WRLCK, 0, 6));
    TRY(lock(other, F_OFD_SETLK, F_UNLCK, 0, 0)); /* its own alone */
    TRY(lock(other, F_OFD_SETLK, F_WRLCK, 5, 5));
    pid_t child = CHILD(int own = open("g", O_RDWR); CHECK(lock(own, F_OFD_SETLKW, F_WRLCK, 5, 1) == 0));
    nap(30);
    int status;
    say("still waiting: %d\n", waitpid(child, &status, WNOHANG) == 0);
    TRY(lock(copy, F_OFD_SETLK, F_UNLCK, 0, 0));
    say("then it came: %d\n", reap(child));
    CHECK(pipe(go) == 0);
    child = CHILD(lock(fd, F_SETLK, F_WRLCK, 3, 1); write(go[1], "x", 1); pause());
    CHECK(read(go[0], &byte, 1) == 1);
    ask(fd, F_WRLCK, 0, 10, child);
    kill(child, SIGKILL);
    reap(child);
    TRY(lock(last, F_OFD_SETLK, F_WRLCK, 0, 1));
    int again = dup(last);
    close(last);
    TRY(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 1));
    close(again);
    TRY(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 1));
    TRY(lock(fd, F_OFD_SETLK, 9, 0, 1));
    for (int number = 3; number < 20; number++)
        close(number);
}

int main(void)
{
    scratch();
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    TRY(lock(fd, F_SETLK, F_WRLCK, 0, 100));
    TRY(lock(fd, F_SETLK, F_UNLCK, 40, 20)); /* splits it */
    reap(CHILD(int own = open("f", O_RDWR); TRY(lock(own, F_SETLK, F_RDLCK, 0, 10)); TRY(lock(own, F_SETLK, F_RDLCK, 45, 10));
               lock(own, F_GETLK, F_WRLCK, 30, 50); lock(own, F_GETLK, F_WRLCK, 200, 0)));
    close(open("f", O_RDONLY)); /* closing any descriptor of the file drops the process's locks */
    reap(CHILD(TRY(lock(fd, F_SETLK, F_WRLCK, 0, 0))));
    TRY(lock(fd, F_SETLK, F_RDLCK, 0, 10));
    pid_t child = CHILD(CHECK(lock(fd, F_SETLKW, F_WRLCK, 0, 10) == 0));
    nap(30);
    int status;
    say("still waiting: %d\n", waitpid(child, &status, WNOHANG) == 0);
    TRY(lock(fd, F_SETLK, F_UNLCK, 0, 0));
    say("then it came: %d\n", reap(child));
    int go[2];
    char byte;
    CHECK(pipe(go) == 0 && lock(fd, F_SETLK, F_WRLCK, 20, 1) == 0);
    child = CHILD(CHECK(lock(fd, F_SETLK, F_WRLCK, 10, 1) == 0); write(go[1], "x", 1); lock(fd, F_SETLKW, F_WRLCK, 20, 1));
    CHECK(read(go[0], &byte, 1) == 1);
    nap(30);
    TRY(lock(fd, F_SETLKW, F_WRLCK, 10, 1));
    lock(fd, F_SETLK, F_UNLCK, 0, 0);
    CHECK(reap(child) == 0);
    child = CHILD(lock(fd, F_SETLK, F_WRLCK, 0, 1); write(go[1], "x", 1); pause());
    CHECK(read(go[0], &byte, 1) == 1);
    handle(SIGALRM, 0, tick);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 20000}, {0, 20000}}, NULL);
    TRY(lock(fd, F_SETLKW, F_WRLCK, 0, 1));
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    kill(child, SIGKILL);
    reap(child);
    TRY(lock(fd, F_SETLK, F_WRLCK, 0, 1));
    lock(fd, F_SETLK, F_UNLCK, 0, 0);

    int other = open("f", O_RDWR), copy = dup(fd);
    TRY(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 10));
    TRY(lock(other, F_OFD_SETLK, F_WRLCK, 5, 1));
    TRY(lock(copy, F_OFD_SETLK, F_RDLCK, 0, 10));
    TRY(lock(other, F_OFD_SETLK, F_RDLCK, 5, 1));
    TRY(lock(fd, F_OFD_SETLK, F_UNLCK, 0, 0));
    TRY(flock(fd, LOCK_EX));
    TRY(flock(other, LOCK_SH | LOCK_NB));
    TRY(flock(copy, LOCK_SH | LOCK_NB));
    TRY(flock(other, LOCK_SH | LOCK_NB));
    TRY(flock(fd, LOCK_EX | LOCK_NB));
    TRY(flock(other, LOCK_UN));
    child = CHILD(TRY(flock(fd, LOCK_EX | LOCK_NB))); /* the same description */
    reap(child);
    close(fd);
    TRY(flock(other, LOCK_EX | LOCK_NB));
    close(copy);
    TRY(flock(other, LOCK_EX | LOCK_NB));
    TRY(flock(99, LOCK_EX));
    TRY(flock(fd, LOCK_SH | LOCK_EX));
    TRY(flock(fd, 32 | LOCK_SH)); /* LOCK_MAND */
    TRY(flock(other, 77));
    TRY(lock(open("f", O_RDONLY), F_SETLK, F_WRLCK, 0, 1));
    TRY(lock(other, F_SETLK, 9, 0, 1));
    TRY(lock(other, F_SETLK, F_WRLCK, -5, 1));
    of_descriptions();
    int ends[2], same;
    char name[64];
    CHECK(pipe(ends) == 0 && snprintf(name, sizeof name, "/proc/self/fd/%d", ends[0]) > 0);
    TRY(flock(ends[0], LOCK_EX | LOCK_NB)); /* both ends are of one inode */
    TRY(flock(ends[1], LOCK_SH | LOCK_NB));
    CHECK((same = open(name, O_RDWR)) >= 0);
    TRY(flock(same, LOCK_SH | LOCK_NB));
    TRY(lock(ends[1], F_OFD_SETLK, F_WRLCK, 0, 10));
    TRY(lock(same, F_OFD_SETLK, F_RDLCK, 5, 10));
    TRY(lock(same, F_OFD_SETLK, F_RDLCK, 10, 10));
    TRY(lock(ends[0], F_SETLK, F_RDLCK, 9, 1));
    TRY(lock(ends[0], F_SETLK, F_RDLCK, 10, 1));
    struct flock there = {.l_type = F_RDLCK, .l_start = 5};
    CHECK(fcntl(ends[0], F_GETLK, &there) == 0);
    say("%d from %ld, %ld bytes, of %d\n", there.l_type, (long)there.l_start, (long)there.l_len, there.l_pid);
    close(ends[0]), close(ends[1]);
    TRY(flock(same, LOCK_EX | LOCK_NB));
    TRY(lock(same, F_OFD_SETLK, F_RDLCK, 5, 10));
    return done();
}
