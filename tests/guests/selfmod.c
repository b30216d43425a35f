/* Code that changes itself, in private, shared and twice-mapped memory, with system calls in what changes. */
#include "guest.h"

/* mov $nr,%eax; syscall; ret */
static void emit(unsigned char *at, uint32_t nr)
{
    unsigned char code[] = {0xb8, 0, 0, 0, 0, 0x0f, 0x05, 0xc3};
    memcpy(code + 1, &nr, 4);
    memcpy(at, code, sizeof code);
}

static long call(void *code) { return ((long (*)(void))code)(); }

int main(void)
{
    enum { RWX = PROT_READ | PROT_WRITE | PROT_EXEC };
    unsigned char *own = mmap(NULL, 4096, RWX, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    long pid = getpid(), parent = getppid();
    for (int i = 0; i < 500; i++) {
        emit(own + 64 + i % 7, i & 1 ? SYS_getpid : SYS_getppid);
        CHECK(call(own + 64 + i % 7) == (i & 1 ? pid : parent));
    }
    say("private anonymous: 500 rounds\n");
    int fd = memfd_create("code", 0);
    CHECK(ftruncate(fd, 4096) == 0);
    unsigned char *write_view = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    unsigned char *run_view = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    for (int i = 0; i < 500; i++) {
        emit(write_view + 64, i & 1 ? SYS_getpid : SYS_getppid);
        CHECK(call(run_view + 64) == (i & 1 ? pid : parent));
    }
    say("two views of a memfd: 500 rounds\n");
    for (int i = 0; i < 100; i++) {
        CHECK(mprotect(own, 4096, PROT_READ | PROT_WRITE) == 0);
        emit(own + 64, i & 1 ? SYS_getpid : SYS_getppid);
        CHECK(mprotect(own, 4096, PROT_READ | PROT_EXEC) == 0);
        CHECK(call(own + 64) == (i & 1 ? pid : parent));
    }
    say("W^X: 100 rounds\n");
    scratch();
    fd = open("code", O_RDWR | O_CREAT, 0600);
    own = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    emit(own + 64, SYS_getpid); /* not at the start of its page: there nothing would be patched */
    CHECK(write(fd, own, 4096) == 4096);
    unsigned char *page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0), *text = page + 64;
    for (int i = 0; i < 5; i++)
        CHECK(call(text) == pid);
    CHECK(memcmp(text + 7, "\xc3", 1) == 0);
    CHECK(mprotect(page, 4096, RWX) == 0);
    emit(text, SYS_getppid);
    for (int i = 0; i < 5; i++)
        CHECK(call(text) == parent);
    say("a file's text, rewritten\n");
    return done();
}
