/* siginfo and its codes: who sent it, and what the CPU found at which address. */
#include "guest.h"
#include <setjmp.h>
#include <sys/ucontext.h>

static sigjmp_buf back;
static siginfo_t last;
static long trapno, error;
static volatile char *page;

static void note(int signal UNUSED, siginfo_t *info, void *context)
{
    ucontext_t *where = context;
    last = *info;
    trapno = where->uc_mcontext.gregs[REG_TRAPNO];
    error = where->uc_mcontext.gregs[REG_ERR];
    siglongjmp(back, 1);
}

#define FAULT(body)                                                                                          \
    do {                                                                                                     \
        if (sigsetjmp(back, 1) == 0) {                                                                       \
            body;                                                                                            \
            say("%s: no signal\n", #body);                                                                   \
        } else if (last.si_code > 0)                                                                         \
            say("%s: %s code %d trap %ld error %ld\n", #body, sigabbrev_np(last.si_signo), last.si_code,     \
                trapno, error);                                                                              \
        else                                                                                                 \
            say("%s: %s code %d\n", #body, sigabbrev_np(last.si_signo), last.si_code);                       \
    } while (0)

int main(void)
{
    int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGUSR1};
    for (int i = 0; i < COUNT(signals); i++)
        handle(signals[i], SA_SIGINFO, note);
    scratch();
    page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FAULT(page[7] = 1);
    CHECK(last.si_addr == page + 7);
    munmap((void *)page, 4096);
    FAULT((void)page[9]);
    CHECK(last.si_addr == page + 9);
    FAULT(*(volatile char *)0x7fff00000000000 = 1);
    CHECK(last.si_addr == NULL);
    volatile int zero = 0, one = 1;
    FAULT(one /= zero);
    CHECK(last.si_addr != NULL);
    FAULT(__asm__ volatile("ud2"));
    FAULT(__asm__ volatile("int3"));
    FAULT(__asm__ volatile("hlt"));
    FAULT(__asm__ volatile("int $0x99"));
    int fd = open("short", O_RDWR | O_CREAT, 0600);
    CHECK(ftruncate(fd, 100) == 0);
    page = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(page[50] == 0 && page[4000] == 0);
    FAULT((void)page[5000]);
    CHECK(last.si_addr == page + 5000);
    FAULT(kill(getpid(), SIGUSR1));
    CHECK(last.si_code == SI_USER && last.si_pid == getpid() && last.si_uid == getuid());
    FAULT(raise(SIGUSR1));
    CHECK(last.si_code == SI_TKILL && last.si_pid == getpid());
    return done();
}
