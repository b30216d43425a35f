/* A small JIT: compiles expressions and calls into fresh memory from two threads while old code is thrown away. */
#include "guest.h"

static long compile_and_run(long a, long b, int nr)
{
    unsigned char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *p = code;
    CHECK(code != MAP_FAILED);
    *p++ = 0x48, *p++ = 0xb8; /* movabs $a,%rax */
    memcpy(p, &a, 8), p += 8;
    *p++ = 0x48, *p++ = 0xb9; /* movabs $b,%rcx */
    memcpy(p, &b, 8), p += 8;
    memcpy(p, "\x48\x0f\xaf\xc1\x50\x31\xc0\xb0", 8), p += 8; /* imul %rcx,%rax; push %rax; xor %eax,%eax; mov $nr,%al */
    *p++ = nr;
    memcpy(p, "\x0f\x05\x59\x48\x01\xc8\xc3", 7); /* syscall; pop %rcx; add %rcx,%rax; ret */
    CHECK(mprotect(code, 4096, PROT_READ | PROT_EXEC) == 0);
    long result = ((long (*)(void))code)();
    CHECK(munmap(code, 4096) == 0);
    return result;
}

static void *worker(void *argument)
{
    long base = (long)argument, pid = getpid();
    for (long i = 0; i < 300; i++)
        CHECK(compile_and_run(base + i, i, SYS_getpid) == (base + i) * i + pid);
    return NULL;
}

int main(void)
{
    pthread_t thread[2];
    for (long i = 0; i < 2; i++)
        pthread_create(&thread[i], NULL, worker, (void *)(i * 1000));
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    long sum = 0, uid = getuid();
    for (long i = 0; i < 100; i++)
        sum += compile_and_run(i, i, SYS_getuid) - uid;
    say("sum of squares %ld\n", sum);
    return done();
}
