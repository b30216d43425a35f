/* A SIGSEGV handler that maps or unprotects the page and returns: the access goes on as if nothing had been. */
#include "guest.h"

enum { PAGES = 300, PAGE = 4096 };
static char *area;
static int faults;
static int mode;

static void mend(int signal UNUSED, siginfo_t *info, void *context UNUSED)
{
    char *page = (char *)((uintptr_t)info->si_addr & -PAGE);
    CHECK(page >= area && page < area + PAGES * PAGE);
    faults++;
    if (mode == 0)
        CHECK(mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page);
    else
        CHECK(mprotect(page, PAGE, PROT_READ | PROT_WRITE) == 0);
}

int main(void)
{
    handle(SIGSEGV, SA_SIGINFO, mend);
    area = mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(area, PAGES * PAGE);
    for (int i = 0; i < PAGES; i++)
        area[i * PAGE + i] = i;
    say("%d pages mapped by the handler\n", faults);
    mode = 1;
    CHECK(mprotect(area, PAGES * PAGE, PROT_READ) == 0);
    int sum = 0;
    for (int i = 0; i < PAGES; i++)
        sum += (unsigned char)area[i * PAGE + i];
    CHECK(faults == PAGES);
    for (int i = 0; i < PAGES; i += 3)
        area[i * PAGE + 1] += 1;
    say("sum %d, %d written after it\n", sum, faults - PAGES);
    faults = 0;
    CHECK(mprotect(area, PAGES * PAGE, PROT_NONE) == 0);
    int ends[2];
    CHECK(pipe(ends) == 0);
    TRY(write(ends[1], area, 10)); /* a system call gets EFAULT, no signal */
    CHECK(faults == 0);
    for (int i = 0; i < 10; i++)
        memset(area + i * PAGE, 7, PAGE);
    TRY(write(ends[1], area + 9 * PAGE + 4000, 1000) > 0);
    return done();
}
