/* pread64 of the same descriptor again and again, until the guest half does it by itself: the number, what it is of, and who
 * wants to know change between two of them. */
#include "guest.h"

#include <linux/close_range.h>
#include <sys/inotify.h>

enum { OFTEN = 600, SIZE = 100000, FILES = 12, ROUNDS = 60 };
static char buffer[SIZE + 4096];

/* A file whose bytes are all `byte`, open for reading only. */
static int make(const char *name, char byte)
{
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);

    memset(buffer, byte, SIZE);
    CHECK(fd >= 0 && write(fd, buffer, SIZE) == SIZE && close(fd) == 0);
    fd = open(name, O_RDONLY);
    CHECK(fd >= 0);
    return fd;
}

static char one(int fd, long at)
{
    char byte = 0;

    return pread(fd, &byte, 1, at) == 1 ? byte : '?';
}

/* So often that it is lent, if it can be. */
static void lend(int fd, char byte)
{
    for (int i = 0; i < OFTEN; i++)
        CHECK(one(fd, i * 7) == byte);
}

static void the_number_changes(void)
{
    int a = make("a", 'a'), b = make("b", 'b'), copy;

    lend(a, 'a');
    lend(b, 'b');
    CHECK(dup2(b, a) == a && one(a, 0) == 'b');
    CHECK(close(a) == 0);
    TRY(pread(a, buffer, 1, 0));
    CHECK(open("a", O_RDONLY) == a && one(a, 5) == 'a');
    lend(a, 'a');
    copy = dup(a);
    lend(copy, 'a');
    CHECK(close(a) == 0 && one(copy, 0) == 'a');
    CHECK(open("b", O_RDONLY) == a && one(a, 0) == 'b' && one(copy, 0) == 'a');
    lend(a, 'b');
    CHECK(close(a) == 0 && open("b", O_WRONLY) == a);
    TRY(pread(a, buffer, 1, 0));
    CHECK(close(a) == 0 && open("b", O_PATH) == a);
    TRY(pread(a, buffer, 1, 0));
    CHECK(close(a) == 0 && close(b) == 0 && close(copy) == 0);
}

static void arguments(void)
{
    int a = make("a", 'a');
    char *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(memory != MAP_FAILED && mprotect(memory + 4096, 4096, PROT_NONE) == 0);
    lend(a, 'a');
    TRY(pread(a, buffer, sizeof buffer, 0));
    TRY(pread(a, buffer, sizeof buffer, SIZE - 10));
    TRY(pread(a, buffer, 10, SIZE));
    TRY(pread(a, buffer, 10, SIZE + 1000000000L));
    TRY(pread(a, buffer, 10, -1));
    TRY(pread(a, buffer, 0, 0));
    TRY(pread(a, BAD, 10, 0));
    TRY(pread(a, (void *)-4096L, 10, 0));
    TRY(pread(a, memory + 4090, 6, 0));
    TRY(pread(a, memory + 4096, 1, 0));
    CHECK(syscall(SYS_pread64, a | 1L << 40, buffer, 1L, 0L) == 1); /* the kernel looks at 32 bits of a number */
    TRY(lseek(a, 0, SEEK_CUR));
    CHECK(munmap(memory, 8192) == 0 && close(a) == 0);
}

static void the_file_changes(void)
{
    int a = make("a", 'a'), writer;

    lend(a, 'a');
    CHECK((writer = open("a", O_RDWR)) >= 0 && pwrite(writer, "new", 3, 50) == 3 && one(a, 51) == 'e');
    lend(writer, 'a');
    CHECK(pwrite(writer, "newer", 5, 50) == 5 && one(a, 53) == 'e' && one(writer, 54) == 'r');
    CHECK(ftruncate(writer, 60) == 0);
    TRY(pread(a, buffer, 100, 0));
    CHECK(ftruncate(writer, SIZE) == 0 && one(a, 59) == 'a' && one(a, 60) == 0);
    CHECK(rename("a", "c") == 0 && close(make("a", 'x')) == 0 && one(a, 0) == 'a');
    CHECK(unlink("c") == 0 && one(a, 0) == 'a' && pwrite(writer, "z", 1, 0) == 1 && one(a, 0) == 'z');
    CHECK(close(a) == 0 && close(writer) == 0);
}

static int number, reading, closed;

static void *reader(void *unused)
{
    char before = 'a';

    while (!__atomic_load_n(&closed, __ATOMIC_SEQ_CST)) {
        char byte = one(number, 3);

        CHECK(byte == 'a' ? before == 'a' : byte == 'b' || (byte == '?' && before != 'b'));
        before = byte;
        __atomic_fetch_add(&reading, 1, __ATOMIC_SEQ_CST);
    }
    CHECK(one(number, 3) == 'b'); /* it was closed and opened before that was said */
    return unused;
}

static void another_thread_closes_it(void)
{
    for (int i = 0; i < 6; i++) {
        pthread_t thread;
        int other = make("b", 'b');

        number = make("a", 'a');
        reading = closed = 0;
        lend(number, 'a');
        CHECK(pthread_create(&thread, NULL, reader, NULL) == 0);
        while (__atomic_load_n(&reading, __ATOMIC_SEQ_CST) < OFTEN)
            sched_yield();
        if (i % 2)
            CHECK(close(number) == 0 && open("b", O_RDONLY) == number);
        else
            CHECK(dup2(other, number) == number);
        __atomic_store_n(&closed, 1, __ATOMIC_SEQ_CST);
        CHECK(pthread_join(thread, NULL) == 0 && close(number) == 0 && close(other) == 0);
    }
}

static void children(void)
{
    int a = make("a", 'a'), b = make("b", 'b');

    lend(a, 'a');
    CHECK(reap(CHILD(CHECK(one(a, 0) == 'a'); lend(a, 'a'); CHECK(dup2(b, a) == a && one(a, 0) == 'b'))) == 0);
    CHECK(one(a, 0) == 'a');
    pid_t child = vfork();
    if (child == 0) {
        if (dup2(b, a) != a || one(a, 0) != 'b')
            _exit(1);
        for (int i = 0; i < OFTEN; i++)
            if (one(a, i) != 'b')
                _exit(2);
        _exit(0);
    }
    CHECK(reap(child) == 0);
    CHECK(one(a, 0) == 'a');
    lend(a, 'a');
    CHECK(close(a) == 0 && close(b) == 0);
}

static void *wait_for_the_end(void *end)
{
    char byte;

    CHECK(read(*(int *)end, &byte, 1) == 0);
    return NULL;
}

/* A table of its own, from which it is closed. */
static void a_table_of_its_own(void)
{
    int a = make("a", 'a'), ends[2];
    pthread_t thread;

    CHECK(pipe(ends) == 0 && pthread_create(&thread, NULL, wait_for_the_end, &ends[0]) == 0);
    lend(a, 'a');
    CHECK(close_range((unsigned)a, (unsigned)a, CLOSE_RANGE_UNSHARE) == 0);
    TRY(pread(a, buffer, 1, 0));
    CHECK(close_range((unsigned)ends[1], (unsigned)ends[1], CLOSE_RANGE_UNSHARE) == 0);
}

static int pair[2];

static void *lend_the_first(void *unused)
{
    lend(pair[0], 'a');
    return unused;
}

static int replace_it(void *unused)
{
    return unused || dup2(pair[1], pair[0]) != pair[0] || one(pair[0], 0) != 'b';
}

/* A process with our memory and a table of its own takes the place of a thread that has ended, and was lent something. */
static void another_in_its_place(void)
{
    static char stack[16384] __attribute__((aligned(16)));

    pair[0] = make("a", 'a'), pair[1] = make("b", 'b');
    for (int i = 0; i < 3; i++) {
        pthread_t thread;

        CHECK(pthread_create(&thread, NULL, lend_the_first, NULL) == 0 && pthread_join(thread, NULL) == 0);
        nap(50); /* until the host has seen its end, and its place is free */
        CHECK(reap(clone(replace_it, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL)) == 0);
    }
    CHECK(close(pair[0]) == 0 && close(pair[1]) == 0);
}

/* More than a guest half keeps. */
static void many(void)
{
    int files[FILES];
    char name[2] = "A";

    for (int i = 0; i < FILES; i++) {
        name[0] = (char)('A' + i);
        files[i] = make(name, name[0]);
    }
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < FILES; i++)
            for (int j = 0; j < 10; j++)
                CHECK(one(files[i], round + j) == 'A' + i);
    for (int i = 0; i < FILES; i++)
        CHECK(close(files[i]) == 0);
}

static void somebody_watches(void)
{
    struct inotify_event event;
    int a = make("a", 'a'), watcher = inotify_init1(IN_NONBLOCK), watch;

    lend(a, 'a');
    watch = inotify_add_watch(watcher, "a", IN_ACCESS);
    CHECK(watch > 0 && one(a, 0) == 'a');
    CHECK(read(watcher, &event, sizeof event) == sizeof event && event.mask == IN_ACCESS);
    CHECK(inotify_rm_watch(watcher, watch) == 0 && read(watcher, &event, sizeof event) == sizeof event);
    lend(a, 'a');
    CHECK(close(watcher) == 0 && close(a) == 0);
}

static void a_program_goes_on(char **argv)
{
    int a = make("a", 'a');
    char text[16];

    lend(a, 'a');
    snprintf(text, sizeof text, "%d", a);
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", argv[0], text, NULL);
        _exit(1);
    }
    CHECK(reap(child) == 0 && close(a) == 0);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        lend(atoi(argv[1]), 'a');
        return 0;
    }
    scratch();
    the_number_changes();
    arguments();
    the_file_changes();
    another_thread_closes_it();
    children();
    CHECK(reap(CHILD(a_table_of_its_own())) == 0);
    another_in_its_place();
    many();
    somebody_watches();
    a_program_goes_on(argv);
    return done();
}
