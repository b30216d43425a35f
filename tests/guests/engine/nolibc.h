/* Raw calls for guests without a C library: each is one `syscall` instruction, nothing else runs. */
#ifndef NOLIBC_H
#define NOLIBC_H
#include <stdint.h>
#include <stddef.h>
#include <asm/unistd.h>

static inline long
sys6(long nr, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#define SYS(nr, ...) SYS_(nr, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define SYS_(nr, a, b, c, d, e, f, ...) \
    sys6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static inline size_t
length(const char *s)
{
    size_t n = 0;
    while (s[n])
        n++;
    return n;
}

static inline void
say(const char *s)
{
    SYS(__NR_write, 1, s, length(s));
}

static inline _Noreturn void
quit(int status)
{
    for (;;)
        SYS(__NR_exit_group, status);
}

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            say("failed: " #condition "\n"); \
            quit(1); \
        } \
    } while (0)

int guest(long argc, char **argv);

__asm__(".text\n.globl _start\n_start: mov (%rsp),%rdi\n lea 8(%rsp),%rsi\n and $-16,%rsp\n call guest_start\n ud2\n");
__attribute__((used)) static void
guest_start(long argc, char **argv)
{
    quit(guest(argc, argv));
}
#endif
