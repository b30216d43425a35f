/* Readers that wait for a pipe, and what ends the wait: bytes, the end, signals, a stop, the end of the process, execve. */
#include "guest.h"

static int end[2];
static volatile int handled;
static void on_usr1(int signal UNUSED) { handled++; }

/* Return once the process (or thread) waits in a call. */
static char state_of(const char *path)
{
    char text[512] = {0};
    int file = open(path, O_RDONLY);
    CHECK(file >= 0 && read(file, text, sizeof text - 1) > 0 && close(file) == 0);
    return strrchr(text, ')')[2];
}

static void until(pid_t pid, char wanted)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    while (state_of(path) != wanted)
        nap(1);
}

static void *read_one(void *result)
{
    char byte = 0;
    *(long *)result = read(end[0], &byte, 1) == 1 ? byte : -errno;
    return NULL;
}

static void again(void)
{
    close(end[0]), close(end[1]);
    CHECK(pipe(end) == 0);
}

int main(int argc, char **argv)
{
    char byte = 0;
    if (argc > 1)
        return argv[1][0] == 'x' ? 7 : 1;
    CHECK(pipe(end) == 0);
    handle(SIGUSR1, 0, on_usr1);

    pid_t child = CHILD(CHECK(read(end[0], &byte, 1) == 1 && byte == 'a'));
    until(child, 'S');
    CHECK(write(end[1], "a", 1) == 1);
    say("bytes came: %d\n", reap(child));

    child = CHILD(TRY(read(end[0], &byte, 1)); say("handled %d\n", handled));
    until(child, 'S');
    kill(child, SIGUSR1);
    say("interrupted: %d\n", reap(child));

    handle(SIGUSR1, SA_RESTART, on_usr1);
    child = CHILD(TRY(read(end[0], &byte, 1)); say("handled %d\n", handled));
    until(child, 'S');
    kill(child, SIGUSR1);
    nap(5);
    until(child, 'S');
    CHECK(write(end[1], "b", 1) == 1);
    say("begun again: %d\n", reap(child));

    child = CHILD(CHECK(read(end[0], &byte, 1) == 1 && byte == 'c'));
    until(child, 'S');
    kill(child, SIGSTOP);
    until(child, 'T');
    CHECK(write(end[1], "c", 1) == 1);
    nap(2);
    kill(child, SIGCONT);
    say("stopped for a while: %d\n", reap(child));

    child = CHILD(read(end[0], &byte, 1));
    until(child, 'S');
    kill(child, SIGKILL);
    say("killed: %d\n", reap(child));
    CHECK(write(end[1], "d", 1) == 1 && read(end[0], &byte, 1) == 1 && byte == 'd');

    child = CHILD(close(end[1]); TRY(read(end[0], &byte, 1)));
    until(child, 'S');
    close(end[1]);
    say("the end: %d\n", reap(child));
    again();

    pid_t readers[3];
    for (int i = 0; i < 3; i++) {
        readers[i] = CHILD(CHECK(read(end[0], &byte, 1) == 1));
        until(readers[i], 'S');
    }
    CHECK(write(end[1], "x", 1) == 1 && write(end[1], "y", 1) == 1 && write(end[1], "z", 1) == 1);
    for (int i = 0; i < 3; i++)
        CHECK(reap(readers[i]) == 0);
    say("three readers\n");

    for (int i = 0; i < 2000; i++) { /* bytes and a signal at once */
        int other[2];
        if (i == 0 || i % 500 == 0)
            say("round %d\n", i);
        CHECK(pipe(other) == 0);
        if (i % 100 == 0) {
            child = CHILD(for (int j = 0; j < 50; j++) kill(getppid(), SIGUSR1); CHECK(write(other[1], "s", 1) == 1));
            CHECK(read(other[0], &byte, 1) == 1 && reap(child) == 0);
        }
        close(other[0]), close(other[1]);
    }

    child = CHILD(pthread_t thread; long got = 0; CHECK(pthread_create(&thread, NULL, read_one, &got) == 0); nap(5);
                  close(end[0]); close(end[1]); nap(5); _exit(3));
    say("closed beside a reader: %d\n", reap(child));
    again();
    pthread_t thread;
    long result = 0;
    CHECK(pthread_create(&thread, NULL, read_one, &result) == 0);
    nap(5);
    CHECK(write(end[1], "t", 1) == 1 && pthread_join(thread, NULL) == 0 && result == 't');
    child = CHILD(CHECK(pthread_create(&thread, NULL, read_one, &result) == 0); nap(5); _exit(5));
    say("the process ends beside a reader: %d\n", reap(child));
    child = CHILD(CHECK(pthread_create(&thread, NULL, read_one, &result) == 0); nap(5); execl("/proc/self/exe", "x", "x", NULL));
    say("executes beside a reader: %d\n", reap(child));
    for (int i = 0; i < 20; i++) { /* the reader may be about to wait just then */
        child = CHILD(CHECK(pthread_create(&thread, NULL, read_one, &result) == 0);
                      if (i % 2) _exit(7); execl("/proc/self/exe", "x", "x", NULL));
        CHECK(reap(child) == 7);
    }
    child = CHILD(alarm(1); handle(SIGALRM, 0, on_usr1); TRY(read(end[0], &byte, 1)));
    say("alarm: %d\n", reap(child));
    return done();
}
