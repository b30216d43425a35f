/* Calls in code that looks as if it could be patched, where nothing may be: memory that programs write to. */
#include "guest.h"

#include <sys/mman.h>

static const unsigned char CODE[] = "\xb8\x27\x00\x00\x00\x0f\x05\xc3"; /* mov $39,%eax; syscall; ret */
#define SIZE (sizeof CODE - 1)
#define OFFSET 64 /* in its page: where the bytes before are in another nothing is patched anyway */

/* Called often enough to be noticed, it answers as it did, and stays as it was written. */
static void
call(const char *name, unsigned char *page, int writable)
{
    unsigned char *at = page + OFFSET;
    int right = 0;

    for (int i = 0; i < 100; i++)
        right += ((long (*)(void))at)() == getpid();
    printf("%s: %d right, %s\n", name, right, memcmp(at, CODE, SIZE) ? "changed" : "unchanged");
    if (!writable)
        return;
    at[1] = 102; /* another number: getuid */
    printf("%s, rewritten: %d\n", name, ((long (*)(void))at)() == getuid());
}

static unsigned char *
map(int prot, int flags, int fd)
{
    unsigned char *at = mmap(NULL, 4096, prot, flags, fd, 0);

    CHECK(at != MAP_FAILED);
    return at;
}

int
main(void)
{
    char name[] = "/tmp/jitsites-XXXXXX";
    int fd = mkstemp(name);
    unsigned char *at;

    CHECK(fd >= 0 && unlink(name) == 0 && ftruncate(fd, 4096) == 0 && pwrite(fd, CODE, SIZE, OFFSET) == SIZE);
    at = map(PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    memcpy(at + OFFSET, CODE, SIZE);
    call("anonymous, writable", at, 1);
    at = map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    memcpy(at + OFFSET, CODE, SIZE);
    CHECK(mprotect(at, 4096, PROT_READ | PROT_EXEC) == 0);
    call("anonymous, then executable", at, 0);
    call("a file's, shared", map(PROT_READ | PROT_EXEC, MAP_SHARED, fd), 0);
    call("a file's, writable", map(PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, fd), 1);
    at = map(PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
    at[8] = 0xc3;
    CHECK(mprotect(at, 4096, PROT_READ | PROT_EXEC) == 0);
    call("a file's, written to before", at, 0);
    at = map(PROT_READ | PROT_EXEC, MAP_PRIVATE, fd);
    CHECK(mprotect(at, 4096, PROT_READ | PROT_WRITE) == 0 && mprotect(at, 4096, PROT_READ | PROT_EXEC) == 0);
    call("a file's, made writable meanwhile", at, 0);
    puts("EXIT-SUCCESS");
    return 0;
}
