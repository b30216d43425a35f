/* Pipes: capacity, blocking and not, end of file, SIGPIPE, FIONREAD, sizes, flags. */
#include "guest.h"
#include <sys/ioctl.h>

static volatile int pipes;
static void on_pipe(int signal UNUSED) { pipes++; }

int main(void)
{
    int end[2], waiting;
    char buffer[70000] = {0};
    TRY(pipe2(end, O_NONBLOCK | O_CLOEXEC));
    say("fds %d %d\n", end[0], end[1]);
    TRY(read(end[0], buffer, 10));
    TRY(read(end[0], buffer, 0));
    TRY(write(end[1], "", 0));
    TRY(write(end[1], buffer, sizeof buffer));
    TRY(write(end[1], buffer, 1));
    CHECK(ioctl(end[0], FIONREAD, &waiting) == 0);
    say("waiting %d\n", waiting);
    TRY(read(end[0], buffer, 4096));
    TRY(write(end[1], buffer, 4096));
    TRY(write(end[1], buffer, 4096));
    TRY(read(end[0], buffer, sizeof buffer));
    TRY(fcntl(end[0], F_GETPIPE_SZ));
    TRY(fcntl(end[0], F_SETPIPE_SZ, 5000));
    TRY(write(end[1], buffer, sizeof buffer));
    TRY(fcntl(end[0], F_SETPIPE_SZ, 4096));
    TRY(fcntl(end[0], F_GETFL) & O_NONBLOCK);
    TRY(read(end[1], buffer, 1));
    TRY(write(end[0], buffer, 1));
    TRY(lseek(end[0], 0, SEEK_SET));
    TRY(pread(end[0], buffer, 1, 0));
    TRY(ftruncate(end[1], 0));
    TRY(fsync(end[1]));
    CHECK(close(end[1]) == 0);
    TRY(read(end[0], buffer, sizeof buffer));
    TRY(read(end[0], buffer, sizeof buffer));
    close(end[0]);

    CHECK(pipe(end) == 0 && close(end[0]) == 0);
    handle(SIGPIPE, 0, on_pipe);
    TRY(write(end[1], "x", 1));
    say("SIGPIPE %d\n", pipes);
    handle(SIGPIPE, 0, SIG_DFL);
    say("by default it kills: %d\n", reap(CHILD(write(end[1], "x", 1))));
    close(end[1]);
    CHECK(pipe(end) == 0);
    pid_t child = CHILD(close(end[0]); for (int i = 0; i < 50; i++) CHECK(write(end[1], buffer, 20000) == 20000));
    close(end[1]);
    long total = 0, got;
    while ((got = read(end[0], buffer, 3000)) > 0)
        total += got;
    say("a blocking writer sent %ld, status %d\n", total, reap(child));
    TRY(pipe(BAD));
    TRY(pipe2(end, 0x1));
    struct stat st;
    CHECK(pipe(end) == 0 && fstat(end[0], &st) == 0);
    say("mode %o size %ld\n", st.st_mode, (long)st.st_size);
    return done();
}
