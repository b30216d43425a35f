/* What a reader of a pipe cannot store stays in the pipe, whole pages of it; another reads it.  Of what a writer cannot
 * load the pages before are written. */
#include "guest.h"
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#define P 4096

static char *page, *in, out[20 * P]; /* a page, and behind it none */

static long held(int fd)
{
    int n;
    CHECK(ioctl(fd, FIONREAD, &n) == 0);
    return n;
}

static void fill(int fd, size_t size)
{
    for (size_t i = 0; i < size; i++)
        out[i] = (char)(i * 7 + i / P);
    CHECK(write(fd, out, size) == (ssize_t)size);
}

static void drain(int fd, size_t from, size_t size)
{
    CHECK(read(fd, in, size) == (ssize_t)size && memcmp(in, out + from, size) == 0);
}

enum { READERS = 6, RECORDS = 6000 };
static int shared[2], seen[RECORDS];

static void *reader(void *unused)
{
    int number;
    while (read(shared[0], &number, sizeof number) == sizeof number)
        __atomic_fetch_add(&seen[number], 1, __ATOMIC_SEQ_CST);
    return unused;
}

/* Of many readers each byte goes to one. */
static void share_out(void)
{
    pthread_t threads[READERS];
    CHECK(pipe(shared) == 0);
    for (int i = 0; i < READERS; i++)
        CHECK(pthread_create(&threads[i], NULL, reader, NULL) == 0);
    for (int i = 0; i < RECORDS;) {
        int some[20];
        for (int k = 0; k < 20; k++)
            some[k] = i++;
        CHECK(write(shared[1], some, sizeof some) == sizeof some);
    }
    CHECK(close(shared[1]) == 0);
    for (int i = 0; i < READERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < RECORDS; i++)
        CHECK(seen[i] == 1);
}

static volatile int broken;

static void count_broken(int signal)
{
    broken += signal == SIGPIPE;
}

/* Memory that ends too soon is not looked at before there is a reader, and room. */
static void what_is_written(char *edge)
{
    struct iovec parts[] = {{out, P + 10}, {edge, 5}, {out, 5}};
    int end[2];

    CHECK(pipe2(end, O_NONBLOCK) == 0 && signal(SIGPIPE, count_broken) != SIG_ERR);
    memcpy(edge - 2 * P, out, 2 * P);
    TRY(write(end[1], edge, 10));
    TRY(write(end[1], edge - 10, 20));
    TRY(write(end[1], edge - P - 10, 5 * P));
    say("held %ld\n", held(end[0]));
    CHECK(read(end[0], in, 2 * P) == P && memcmp(in, out + P - 10, 10) == 0);
    TRY(write(end[1], edge - 2 * P, 20 * P));
    CHECK(read(end[0], in, 3 * P) == 2 * P && memcmp(in, out, 2 * P) == 0);
    TRY(writev(end[1], parts, 3));
    TRY(read(end[0], in, 3 * P));
    TRY(vmsplice(end[1], parts, 3, 0));
    TRY(vmsplice(end[0], &parts[1], 1, 0));
    TRY(vmsplice(end[0], parts, 1, 0));

    fill(end[1], 16 * P);
    TRY(write(end[1], edge, 10));
    TRY(write(end[1], edge - P, 5 * P));
    CHECK(read(end[0], in, 16 * P) == 16 * P && close(end[0]) == 0);
    TRY(write(end[1], edge, 10));
    TRY(writev(end[1], parts, 3));
    TRY(write(end[1], edge, 0));
    say("broken: %d\n", broken);
    CHECK(close(end[1]) == 0);

    /* Who has written a part when the last reader goes hears of it, too. */
    CHECK(pipe(end) == 0);
    pid_t child = CHILD(close(end[1]); nap(100); CHECK(read(end[0], in, P) == P); nap(100));
    CHECK(close(end[0]) == 0);
    TRY(write(end[1], out, 20 * P));
    say("broken: %d\n", broken);
    CHECK(reap(child) == 0 && close(end[1]) == 0);

    int null = open("/dev/null", O_WRONLY), zero = open("/dev/zero", O_WRONLY), full = open("/dev/full", O_WRONLY);
    TRY(write(null, BAD, 10));
    TRY(writev(zero, parts, 3));
    TRY(write(full, BAD, 10));
}

/* All that is there, however much, in one call. */
static void much(char *edge)
{
    enum { MUCH = 1 << 20 };
    char *bytes = malloc(MUCH), *read_back = malloc(2 * MUCH);
    int end[2];

    CHECK(bytes && read_back && pipe2(end, O_NONBLOCK) == 0 && fcntl(end[1], F_SETPIPE_SZ, MUCH) == MUCH);
    for (size_t i = 0; i < MUCH; i++)
        bytes[i] = (char)(i * 7 + i / P);
    TRY(write(end[1], bytes, MUCH));
    TRY(read(end[0], edge, MUCH));
    TRY(read(end[0], read_back, MUCH));
    CHECK(memcmp(bytes, read_back, MUCH) == 0);
    struct iovec parts[] = {{read_back, 50000}, {read_back + 50000, 50000}, {edge, 10}};
    CHECK(write(end[1], bytes, MUCH) == MUCH);
    TRY(readv(end[0], parts, 2));
    TRY(read(end[0], read_back, 2 * MUCH));
    CHECK(memcmp(bytes + 100000, read_back, MUCH - 100000) == 0);
    free(bytes);
    free(read_back);
}

int main(void)
{
    int end[2];
    share_out();
    CHECK(pipe2(end, O_NONBLOCK) == 0);
    page = mmap(NULL, 3 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    in = malloc(20 * P);
    CHECK(page != MAP_FAILED && mprotect(page + 2 * P, P, PROT_NONE) == 0);
    char *edge = page + 2 * P;

    fill(end[1], 100);
    TRY(read(end[0], BAD, 100));
    TRY(read(end[0], edge, 100));
    TRY(read(end[0], edge - 50, 100));
    say("held %ld\n", held(end[0]));
    drain(end[0], 0, 100);

    fill(end[1], 4 * P); /* into a ring that has been used, and must grow */
    TRY(read(end[0], edge - 100, 4 * P));
    TRY(read(end[0], edge - P - 100, 4 * P));
    say("held %ld\n", held(end[0]));
    CHECK(memcmp(edge - P - 100, out, P) == 0);
    drain(end[0], P, 3 * P);

    struct iovec parts[] = {{page, 10}, {edge, 20}, {page, 30}};
    fill(end[1], 50);
    TRY(readv(end[0], parts, 3));
    say("held %ld\n", held(end[0]));
    drain(end[0], 0, 50);

    /* A full one, whose writer waits for the room that there was for a moment. */
    CHECK(fcntl(end[1], F_SETPIPE_SZ, P) == P && fcntl(end[0], F_SETFL, 0) == 0 && fcntl(end[1], F_SETFL, 0) == 0);
    fill(end[1], P);
    pid_t child = CHILD(for (int i = 0; i < 50; i++) CHECK(write(end[1], out, P) == P));
    for (int i = 0; i < 51; i++) {
        for (int k = 0; k < 3; k++)
            CHECK(read(end[0], edge - 1000 * k, P) == -1 && errno == EFAULT);
        drain(end[0], 0, P);
    }
    say("the writer: %d\n", reap(child));

    /* Who polls meanwhile does not miss what came back. */
    for (int i = 0; i < 100; i++) {
        struct pollfd ready = {end[0], POLLIN, 0};
        child = CHILD(for (int k = 0; k < 20; k++) CHECK(read(end[0], edge, 8) == -1));
        CHECK(write(end[1], out, 8) == 8 && poll(&ready, 1, 10000) == 1);
        CHECK(write(end[1], out + 8, 8) == 8);
        CHECK(reap(child) == 0);
        drain(end[0], 0, 16);
    }

    /* Packets stay whole. */
    CHECK(pipe2(end, O_DIRECT) == 0);
    fill(end[1], 300);
    CHECK(write(end[1], "second", 6) == 6);
    TRY(read(end[0], edge - 10, 300));
    TRY(read(end[0], edge - 10, 10));
    TRY(read(end[0], in, 300));

    what_is_written(edge);
    much(edge);
    return done();
}
