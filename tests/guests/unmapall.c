/* Memory that is given up whole: what comes after is SIGSEGV, whatever else was in there. */
#include "guest.h"

#define END 0x7ffffffff000ul

static void all(void) { munmap(NULL, END); }

static void most(void) { munmap((void *)0x10000000, END - 0x10000000); }

static void pieces(void)
{
    for (uintptr_t at = 0x10000; at < END; at += 1ul << 40)
        munmap((void *)at, END - at < 1ul << 40 ? END - at : 1ul << 40);
}

static void own(void) { munmap((void *)((uintptr_t)own & ~4095ul), 4096); }

int main(void)
{
    void (*const ways[])(void) = {all, most, pieces, own};
    for (int i = 0; i < COUNT(ways); i++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            ways[i]();
            _exit(1);
        }
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    }
    return done();
}
