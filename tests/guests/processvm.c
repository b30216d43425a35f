/* process_vm_readv(2) and process_vm_writev(2): what moves, how far, who may; signals to a directory of /proc. */
#include "guest.h"
#include <grp.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>

#define SIZE (1 << 20)

static char *area; /* private: the child has its own */

static void fill(char *at, int seed)
{
    for (int i = 0; i < SIZE; i++)
        at[i] = (char)((i * 7 + i / 251 + seed) & 0xff);
}

static int same(const char *at, int seed, int from, int to)
{
    for (int i = from; i < to; i++)
        if (at[i] != (char)((i * 7 + i / 251 + seed) & 0xff))
            return 0;
    return 1;
}

static long get(pid_t pid, void *to, void *from, size_t size)
{
    return process_vm_readv(pid, &(struct iovec){to, size}, 1, &(struct iovec){from, size}, 1, 0);
}

static long set(pid_t pid, void *to, void *from, size_t size)
{
    return process_vm_writev(pid, &(struct iovec){from, size}, 1, &(struct iovec){to, size}, 1, 0);
}

static int prctl_dumpable(void) { return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); }
static void become(int uid) { CHECK(setgroups(0, NULL) == 0 && setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0); }

int main(void)
{
    int ready[2], go[2];
    char byte;
    area = mmap(NULL, SIZE + 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(area + SIZE, 4096);
    char *buffer = malloc(SIZE);
    CHECK(pipe(ready) == 0 && pipe(go) == 0);
    pid_t child = CHILD(fill(area, 1); CHECK(write(ready[1], "r", 1) == 1 && read(go[0], &byte, 1) == 1);
                        say("the child sees what was written: %d\n", same(area, 2, 0, 300000) && same(area, 1, 300000, SIZE)));
    CHECK(read(ready[0], &byte, 1) == 1);
    fill(area, 3);

    TRY(get(child, buffer, area, SIZE));
    say("right: %d\n", same(buffer, 1, 0, SIZE));
    struct iovec ours[3] = {{buffer, 100}, {buffer + 100, 5000}, {buffer + 5100, 4900}};
    struct iovec theirs[3] = {{area, 7000}, {area + 7000, 0}, {area + 7000, 2999}};
    memset(buffer, 0, SIZE);
    TRY(process_vm_readv(child, ours, 3, theirs, 3, 0));
    say("right: %d\n", same(buffer, 1, 0, 9999) && buffer[9999] == 0);
    fill(buffer, 2);
    TRY(set(child, area, buffer, 300000));
    say("ours is ours: %d\n", same(area, 3, 0, SIZE));

    TRY(get(child, buffer, area + SIZE - 4096, 8192)); /* into the hole */
    TRY(set(child, area + SIZE - 4096, area, 8192) == 4096 && set(child, area + SIZE - 4096, area + 0, 0) == 0);
    fill(buffer, 1);
    CHECK(set(child, area + SIZE - 4096, buffer + SIZE - 4096, 4096) == 4096);
    TRY(get(child, buffer, area + SIZE, 4096));
    TRY(get(child, buffer, BAD, 16));
    TRY(get(child, BAD, area, 16));
    TRY(set(child, area, BAD, 16));
    TRY(get(child, buffer, (void *)-4096L, 16));
    TRY(set(child, (void *)main, buffer, 16)); /* text is not writable */
    TRY(get(child, buffer, (void *)main, 16));
    TRY(get(12345678, buffer, area, 16));
    TRY(get(child, buffer, area, 0));
    TRY(process_vm_readv(child, ours, 0, theirs, 3, 0));
    TRY(process_vm_readv(child, ours, 3, theirs, 0, 0));
    TRY(process_vm_readv(child, ours, 3, theirs, 3, 1));
    TRY(process_vm_readv(child, ours, 1025, theirs, 3, 0));
    TRY(process_vm_readv(child, ours, 3, theirs, 1025, 0));
    TRY(process_vm_readv(child, (void *)8, 3, theirs, 3, 0));
    TRY(process_vm_readv(child, ours, 3, (void *)8, 3, 0));
    TRY(get(getpid(), buffer, area, 5000));
    say("of oneself: %d\n", same(buffer, 3, 0, 5000));
    CHECK(write(go[1], "g", 1) == 1 && reap(child) == 0);
    TRY(get(child, buffer, area, 16));

    if (geteuid() == 0) {
        pid_t strange = CHILD(pause());
        say("a stranger: %d\n", reap(CHILD(become(1000); TRY(get(strange, buffer, area, 16)); TRY(set(strange, area, buffer, 16)))));
        kill(strange, SIGKILL);
        reap(strange);
        pid_t parent = CHILD(become(1000); CHECK(prctl_dumpable() == 0); pid_t own = CHILD(pause()); TRY(get(own, buffer, area, 16));
                             kill(own, SIGKILL); reap(own));
        say("one's own child: %d\n", reap(parent));
    }

    char name[64];
    child = CHILD(pause());
    sprintf(name, "/proc/%d", child);
    int directory = open(name, O_RDONLY | O_DIRECTORY);
    TRY(pidfd_send_signal(directory, 0, NULL, 0));
    TRY(pidfd_send_signal(directory, SIGUSR1, NULL, 0));
    say("ended by %d\n", -reap(child));
    TRY(pidfd_send_signal(directory, 0, NULL, 0));
    close(directory);
    directory = open("/proc", O_RDONLY | O_DIRECTORY);
    TRY(pidfd_send_signal(directory, 0, NULL, 0));
    directory = open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
    TRY(pidfd_send_signal(directory, 0, NULL, 0));
    TRY(pidfd_send_signal(open("/proc/self", O_RDONLY | O_DIRECTORY), 0, NULL, 0));
    TRY(pidfd_getfd(open("/proc/self", O_RDONLY | O_DIRECTORY), 0, 0));
    return done();
}
