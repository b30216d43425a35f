/* Anonymous memory: protections, holes, growth, moves, advice, brk, and the errors of each call. */
#include "guest.h"

#define MAP(address, size, prot, flags) mmap(address, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | (flags), -1, 0)
enum { RW = PROT_READ | PROT_WRITE, P = 4096 };

static int readable(void *page)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    int ok = write(ends[1], page, 1) == 1;
    close(ends[0]);
    close(ends[1]);
    return ok;
}

int main(void)
{
    char *a = MAP(NULL, 8 * P, RW, 0);
    CHECK(a != MAP_FAILED && ((uintptr_t)a & (P - 1)) == 0 && a[3 * P] == 0);
    memset(a, 'x', 8 * P);
    TRY(munmap(a + 2 * P, P));
    TRY(mprotect(a + 4 * P, P, PROT_NONE));
    for (int i = 0; i < 8; i++)
        say("%d", readable(a + i * P));
    say("\n");
    TRY(mprotect(a, 8 * P, PROT_READ)); /* over a hole: what lies before it is done */
    TRY(madvise(a, P, MADV_DONTNEED));
    say("after DONTNEED: %d\n", a[0]);
    TRY(madvise(a, P, 9999));
    TRY(madvise(a + 1, P, MADV_DONTNEED));
    char *b = MAP(NULL, 2 * P, RW, 0);
    b[0] = 'b';
    b = mremap(b, 2 * P, 600 * P, MREMAP_MAYMOVE);
    CHECK(b != MAP_FAILED && b[0] == 'b' && b[599 * P] == 0);
    CHECK(mremap(b, 600 * P, P, 0) == b);
    say("shrunk: %d %d\n", readable(b), readable(b + P));
    TRY(mremap(b, P, 2 * P, 0x80) == MAP_FAILED ? -1 : 0);
    TRY(mremap((void *)1, P, 2 * P, 0) == MAP_FAILED ? -1 : 0);
    char *c = MAP(NULL, 4 * P, RW, 0);
    CHECK(MAP(c + P, P, PROT_READ, MAP_FIXED) == c + P && readable(c + P));
    TRY(MAP(c, P, RW, MAP_FIXED_NOREPLACE) == MAP_FAILED ? -1 : 0);
    TRY(MAP(NULL, 0, RW, 0) == MAP_FAILED ? -1 : 0);
    TRY(MAP((void *)123, P, RW, MAP_FIXED) == MAP_FAILED ? -1 : 0);
    TRY(mmap(NULL, P, RW, MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
    TRY(MAP(NULL, 1ul << 60, RW, 0) == MAP_FAILED ? -1 : 0);
    TRY(munmap(c + 1, P));
    TRY(munmap(c, 0));
    TRY(mprotect(c, P, 0x100));
    TRY(mprotect(c + 1, P, RW));
    char *huge = MAP(NULL, 4ul << 30, RW, MAP_NORESERVE);
    CHECK(huge != MAP_FAILED);
    for (unsigned long at = 0; at < 4ul << 30; at += 64ul << 20)
        huge[at] = 1;
    CHECK(munmap(huge, 4ul << 30) == 0);
    char *end = sbrk(0);
    CHECK(sbrk(100 * P) == end && (end[99 * P] = 1));
    CHECK(sbrk(-100 * P) == end + 100 * P && sbrk(0) == end);
    say("brk too far stays: %d\n", (char *)syscall(SYS_brk, 1) == end);
    unsigned char resident[8];
    CHECK(mincore(c, P, resident) == 0);
    int *shared = mmap(NULL, P, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    reap(CHILD(*shared = 99));
    say("shared anonymous: %d\n", *shared);
    TRY(mlock(c, P));
    TRY(munlock(c, P));
    TRY(msync(c, P, MS_SYNC));
    TRY(msync(c, P, 99));
    return done();
}
