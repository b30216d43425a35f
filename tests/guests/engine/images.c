/* Two threads use each its half of memory from an image while the other changes its own, and a third only looks.  Call
 * 600 maps 16 pages of it at an address: the first word of each is its number, and 1000. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHECK(x) do { if (!(x)) { printf("failed: %s (line %d)\n", #x, __LINE__); exit(1); } } while (0)
enum { P = 4096, PAGES = 16, HALF = PAGES / 2, WORD = P / sizeof(int) };
#define AT ((volatile int *)0x200000000000)
#define LOOKED_AT ((volatile int *)0x210000000000)
#define ELSEWHERE 0x220000000000

static atomic_int stop;

static void
drop(volatile int *page, int value)
{
    CHECK(*page == value);
    CHECK(madvise((void *)page, P, MADV_DONTNEED) == 0);
    CHECK(*page == 0);
    *page = 5;
}

static void *
change(void *argument)
{
    const long half = (long)argument;
    volatile int *own = AT + half * HALF * WORD;
    char *place = (char *)(ELSEWHERE + half * 0x100000);

    for (int i = 1; i < HALF; i += 2)
        drop(own + i * WORD, 1000 + half * HALF + i);
    CHECK(mprotect((void *)own, 2 * P, PROT_READ) == 0);
    CHECK(mremap((void *)own, 2 * P, 2 * P, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place);
    CHECK(*(int *)place == 1000 + half * HALF && *(int *)(place + P) == 5);
    CHECK(mprotect(place, 2 * P, PROT_READ | PROT_WRITE) == 0);
    drop((int *)place, 1000 + half * HALF);
    CHECK(munmap(place, 2 * P) == 0);
    for (int i = 2; i < HALF; i++)
        drop(own + i * WORD, i % 2 ? 5 : 1000 + half * HALF + i);
    return NULL;
}

/* What is dropped is there all the time. */
static void *
look(void *argument)
{
    while (!stop) {
        for (int i = 0; i < PAGES; i++) {
            int value = LOOKED_AT[i * WORD];

            CHECK(value == 0 || value == 1000 + i);
            LOOKED_AT[i * WORD + 1] = 1;
        }
    }
    return argument;
}

int
main(void)
{
    pthread_t threads[2], looking;

    CHECK(syscall(600, LOOKED_AT) == (long)LOOKED_AT);
    CHECK(pthread_create(&looking, NULL, look, NULL) == 0);
    for (int round = 0; round < 60; round++) {
        CHECK(syscall(600, AT) == (long)AT);
        for (long i = 0; i < 2; i++)
            CHECK(pthread_create(&threads[i], NULL, change, (void *)i) == 0);
        CHECK(syscall(600, LOOKED_AT) == (long)LOOKED_AT);
        for (int i = 0; i < PAGES; i += 3)
            CHECK(madvise((void *)(LOOKED_AT + i * WORD), P, i % 2 ? MADV_FREE : MADV_DONTNEED) == 0);
        for (int i = 0; i < 2; i++)
            CHECK(pthread_join(threads[i], NULL) == 0);
        for (int i = 2; i < PAGES; i++)
            CHECK(i == HALF || i == HALF + 1 || AT[i * WORD] == 5);
    }
    stop = 1;
    CHECK(pthread_join(looking, NULL) == 0);
    CHECK(mremap((void *)AT, 0, P, MREMAP_MAYMOVE) == MAP_FAILED);
    puts("EXIT-SUCCESS");
}
