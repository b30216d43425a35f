/* brk: growth and shrinking by bytes and pages, what is in the way, RLIMIT_DATA, forks, threads, /proc/self/maps. */
#include "guest.h"
#include <sys/resource.h>

#define P 4096

static uintptr_t move(uintptr_t end)
{
    return (uintptr_t)syscall(SYS_brk, end);
}

static uintptr_t start;
static pthread_barrier_t begin;

static void show(const char *what, uintptr_t end)
{
    say("%s: %ld\n", what, (long)(end - start));
}

static void *grow(void *unused UNUSED)
{
    pthread_barrier_wait(&begin);
    for (int i = 0; i < 200; i++)
        move(move(0) + 16);
    return NULL;
}

/* Size of the range that maps call [heap]; 0: none does. */
static long heap_in_maps(void)
{
    static char maps[65536];
    unsigned long from, to;
    long size = 0, n, used = 0;
    int file = open("/proc/self/maps", O_RDONLY);
    while ((n = read(file, maps + used, sizeof maps - 1 - (size_t)used)) > 0)
        used += n;
    CHECK(n == 0 && close(file) == 0);
    maps[used] = 0;
    for (char *line = maps; *line; line = strchr(line, '\n') + 1) {
        char *name = strstr(line, "[heap]");
        if (name && name < strchr(line, '\n') && sscanf(line, "%lx-%lx", &from, &to) == 2)
            size += (long)(to - from);
    }
    return size;
}

int main(void)
{
    pthread_t threads[4];
    pthread_barrier_init(&begin, NULL, 5);
    for (int i = 0; i < 4; i++) /* from here on nothing is allocated by malloc, which would take what is moved here */
        CHECK(pthread_create(&threads[i], NULL, grow, NULL) == 0);
    start = (move(0) + 2 * P - 1) & -(uintptr_t)P;
    CHECK(move(start) == start);
    long before = heap_in_maps();
    CHECK(move(0) >= start);
    move(start);
    show("a byte", move(start + 1));
    char *heap = (char *)start;
    CHECK(heap[P - 1] == 0);
    heap[0] = heap[100] = 'x';
    show("the same page", move(start + P));
    CHECK(heap[100] == 'x');
    show("more", move(start + 10 * P + 5));
    CHECK(heap[10 * P + 4] == 0 && heap[11 * P - 1] == 0);
    memset(heap, 'y', 10 * P);
    say("in maps: %ld\n", (heap_in_maps() - before) / P);
    show("less", move(start + 3));
    show("and more again", move(start + 4 * P));
    say("kept %c, zero again %d\n", heap[2], heap[P]);
    show("below its start", move(P));
    show("nothing", move(0));
    show("above everything", move(1UL << 62));
    show("not an address", move((uintptr_t)-5));

    void *wall = mmap(heap + 8 * P, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(wall == heap + 8 * P);
    show("up to a page before the wall", move(start + 7 * P));
    show("into the wall", move(start + 8 * P + 1));
    CHECK(move(start + 5 * P) == start + 5 * P && munmap(wall, P) == 0);
    show("the wall is gone", move(start + 8 * P + 1));

    pid_t child = CHILD(show("child's", move(0)); heap[0] = 'c'; show("child grows", move(start + 20 * P)); heap[19 * P] = 1);
    CHECK(reap(child) == 0);
    show("parent's", move(0));
    say("parent has %c\n", heap[0]);

    struct rlimit limit, old;
    CHECK(getrlimit(RLIMIT_DATA, &old) == 0);
    limit = old;
    limit.rlim_cur = 1 << 30;
    CHECK(setrlimit(RLIMIT_DATA, &limit) == 0);
    show("below the limit", move(start + 9 * P));
    say("above the limit stays: %d\n", move(start + (2UL << 30)) == start + 9 * P);
    child = CHILD(say("child's limit: %d\n", move(start + (2UL << 30)) == start + 9 * P));
    CHECK(reap(child) == 0);
    CHECK(setrlimit(RLIMIT_DATA, &old) == 0);
    show("no limit", move(start + 10 * P));
    child = vfork();
    if (child == 0) {
        limit.rlim_cur = P;
        _exit(setrlimit(RLIMIT_DATA, &limit));
    }
    CHECK(reap(child) == 0);
    show("another's limit, who shared the memory", move(start + 12 * P));
    show("and less", move(start + 10 * P));

    pthread_barrier_wait(&begin);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    uintptr_t end = move(0);
    CHECK(end > start + 10 * P && end <= start + 10 * P + 800 * 16);
    memset(heap, 'z', end - start);
    show("back", move(start));
    return done();
}
