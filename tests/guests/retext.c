/* Text is mapped over by the same text, or dropped, so that it is read again, while threads make calls from it: whatever
 * stands there at a moment, each call is done. */
#include "guest.h"

#define SITES 64
#define THREADS 2
#define ROUNDS 8
#define CHANGES 20

static const unsigned char site_mov[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05};
static const unsigned char site_cmp[] = {0x6a, 39, 0x58, 0x0f, 0x05, 0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff};

static unsigned char *text;
static int file;
static volatile int stop;
static int calls; /* of the whole text; sites are patched in the third or so */

/* mmap(2) with MAP_FIXED at `text`, or anywhere. */
static void
map_text(int flags)
{
    unsigned char *at = mmap(text, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | flags, file, 0);

    CHECK(at != MAP_FAILED);
    text = at;
}

static void
write_text(void)
{
    unsigned char code[4096];
    char name[] = "/tmp/retext-XXXXXX";

    memset(code, 0x90, sizeof code);
    for (int i = 0; i < SITES; i++) {
        const int even = i % 2 == 0;

        memcpy(code + i * 32, even ? site_mov : site_cmp, even ? sizeof site_mov : sizeof site_cmp);
    }
    code[SITES * 32] = 0xc3;
    file = mkstemp(name);
    CHECK(file >= 0 && unlink(name) == 0 && write(file, code, sizeof code) == sizeof code);
}

static void *
call_often(void *wrong)
{
    long (*code)(void) = (long (*)(void))text;
    const long pid = getpid();

    while (!stop) {
        *(long *)wrong += code() != pid;
        __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static int
run(int drop)
{
    pthread_t threads[THREADS];
    long wrong[THREADS] = {0}, sum = 0;

    map_text(0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, call_often, &wrong[i]) == 0);
    for (int i = 0; i < CHANGES; i++) {
        const int before = __atomic_load_n(&calls, __ATOMIC_RELAXED);

        while (__atomic_load_n(&calls, __ATOMIC_RELAXED) < before + 2)
            sched_yield();
        usleep((unsigned)i * 5);
        if (drop)
            CHECK(madvise(text, 4096, MADV_DONTNEED) == 0);
        else
            map_text(MAP_FIXED);
    }
    stop = 1;
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        sum += wrong[i];
    }
    return sum == 0;
}

int
main(void)
{
    int right = 0;

    write_text();
    for (int i = 0; i < ROUNDS; i++) {
        int status;
        pid_t child = fork();

        if (child == 0)
            _exit(run(i % 2) ? 7 : 1);
        CHECK(child > 0 && waitpid(child, &status, 0) == child);
        right += WIFEXITED(status) && WEXITSTATUS(status) == 7;
    }
    say("processes that are right: %d\n", right);
    puts("EXIT-SUCCESS");
    return 0;
}
