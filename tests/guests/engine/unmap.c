/* Patched text goes away and other text comes to its place: nothing of the old sites is left.  Call 600 maps a page of
 * code at an address with these flags, readable and executable: 0 a call of getpid, 1 the same bytes but an invalid
 * instruction for it. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHECK(x) do { if (!(x)) { printf("failed: %s (line %d)\n", #x, __LINE__); exit(1); } } while (0)
#define AT ((unsigned char *)0x10000000)
#define ENTRY (AT + 64)
#define CALL (ENTRY + 16)

static sigjmp_buf back;
static volatile int signals;

static void
note(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)context;
    signals++;
    CHECK(info->si_addr == CALL + 5);
    siglongjmp(back, 1);
}

static long
call_at(const unsigned char *entry, long rax)
{
    long result;

    __asm__ volatile("sub $256, %%rsp\n call *%2\n add $256, %%rsp"
                     : "=a"(result)
                     : "a"(rax), "r"(entry)
                     : "rcx", "r11", "memory", "cc");
    return result;
}

static long
call(void)
{
    return call_at(ENTRY, 0);
}

/* Have the page with the invalid instruction there. */
static void
replace(int way)
{
    static unsigned char copy[4096];
    const long again = MAP_PRIVATE | MAP_FIXED_NOREPLACE;

    switch (way) {
    case 0:
        CHECK(munmap(AT, 4096) == 0);
        CHECK(syscall(600, 1, AT, again) == (long)AT);
        break;
    case 1: /* made writable: the guest may do as it likes */
        CHECK(mprotect(AT, 4096, PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
        for (int i = 0; i < 7; i++)
            CALL[i] = "\xb8\x07\0\0\0\x90\x90"[i];
        CHECK(call() == 7);
        CALL[5] = 6;
        break;
    case 2:
        CHECK(syscall(600, 1, AT, MAP_PRIVATE | MAP_FIXED) == (long)AT);
        break;
    case 3: /* moved away */
        CHECK(mremap(AT, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, AT + 0x10000) == AT + 0x10000);
        CHECK(call_at(ENTRY + 0x10000, 0) == getpid());
        CHECK(call_at(CALL + 5 + 0x10000, SYS_getpid) == getpid()); /* where a call that begins again does so */
        CHECK(syscall(600, 1, AT, again) == (long)AT);
        break;
    case 4: /* moved over it */
        CHECK(syscall(600, 1, AT + 0x20000, again) == (long)AT + 0x20000);
        CHECK(mremap(AT + 0x20000, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, AT) == AT);
        break;
    case 5: /* a copy in its place, as programs make that want large pages for their text */
        memcpy(copy, AT, sizeof copy);
        CHECK(mmap(AT, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == AT);
        memcpy(AT, copy, sizeof copy);
        CHECK(mprotect(AT, 4096, PROT_READ | PROT_EXEC) == 0);
        CHECK(call() == getpid());
        CHECK(call_at(CALL + 5, SYS_getpid) == getpid());
        CHECK(syscall(600, 1, AT, MAP_PRIVATE | MAP_FIXED) == (long)AT);
        break;
    }
}

int
main(int argc, char **argv)
{
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO | SA_NODEFER};
    int fast = argc > 1 && argv[1][0] == 'f';
    long pid = getpid();

    sigaction(SIGILL, &action, NULL);
    for (volatile int way = 0; way < 6; way++) {
        CHECK(syscall(600, 0, AT, MAP_PRIVATE | MAP_FIXED) == (long)AT);
        for (int i = 0; i < 6; i++)
            CHECK(call() == pid);
        CHECK((CALL[0] == 0xff) == fast);
        replace(way);
        for (volatile int i = 0; i < 3; i++) {
            signals = 0;
            if (sigsetjmp(back, 1) == 0)
                call();
            CHECK(signals == 1);
        }
    }
    puts("EXIT-SUCCESS");
    return 0;
}
