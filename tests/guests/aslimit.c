/* RLIMIT_AS: what it refuses, who inherits it, and that threads, forks and programs start under it. */
#include "guest.h"
#include <sys/resource.h>

#define MB (1UL << 20)

static void limit(unsigned long soft)
{
    CHECK(setrlimit(RLIMIT_AS, &(struct rlimit){soft, RLIM_INFINITY}) == 0);
}

static void *map(unsigned long size, int prot, int flags, int fd)
{
    void *at = mmap(NULL, size, prot, flags, fd, 0);
    return at == MAP_FAILED ? NULL : at;
}

static void try_map(const char *what, unsigned long size, int prot, int flags, int fd)
{
    void *at = map(size, prot, flags, fd);
    say("%s, %lu MB: %s\n", what, size / MB, at ? "ok" : strerrorname_np(errno));
    if (at)
        munmap(at, size);
}

static void try_all(const char *who)
{
    say("%s\n", who);
    try_map("anonymous", 300 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    try_map("anonymous", 600 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    try_map("reserved", 600 * MB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    try_map("shared", 600 * MB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
    int fd = open("/proc/self/exe", O_RDONLY);
    try_map("a file", 600 * MB, PROT_READ, MAP_PRIVATE, fd);
    close(fd);
    say("brk: %s\n", sbrk((intptr_t)(600 * MB)) == (void *)-1 ? strerrorname_np(errno) : "ok");
    void *at = map(300 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    CHECK(at);
    void *larger = mremap(at, 300 * MB, 600 * MB, MREMAP_MAYMOVE);
    say("mremap: %s\n", larger == MAP_FAILED ? strerrorname_np(errno) : "ok");
    munmap(larger == MAP_FAILED ? at : larger, larger == MAP_FAILED ? 300 * MB : 600 * MB);
}

static void *nothing(void *argument) { return argument; }

int main(int argc, char **argv UNUSED)
{
    if (argc > 1) {
        try_all("after exec");
        return 0;
    }
    try_map("without a limit", 600 * MB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    limit(500 * MB);
    try_all("limited");
    pthread_t thread;
    say("a thread: %d\n", pthread_create(&thread, NULL, nothing, NULL) || pthread_join(thread, NULL));
    say("a child: %d\n", reap(CHILD(try_all("after fork"))));
    say("a child's own: %d\n", reap(CHILD(limit(200 * MB); try_map("less", 300 * MB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1))));
    try_map("still", 300 * MB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    say("a program: %d\n", reap(CHILD(execl("/proc/self/exe", "aslimit", "again", NULL))));
    int status;
    pid_t other = CHILD(limit(64 << 10); execl("/proc/self/exe", "aslimit", "again", NULL));
    CHECK(waitpid(other, &status, 0) == other);
    say("a program without room: signal %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    other = CHILD(pause());
    CHECK(prlimit(other, RLIMIT_AS, &(struct rlimit){300 * MB, RLIM_INFINITY}, NULL) == 0);
    kill(other, SIGKILL);
    reap(other);
    limit(1000 * MB);
    try_map("raised", 600 * MB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    try_map("raised", 1100 * MB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    limit(RLIM_INFINITY);
    try_map("no more", 1100 * MB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    return done();
}
