/* Mapped files: private and shared, coherence with read and write, truncation, /dev/shm, offsets, protection. */
#include "guest.h"

/* The kernel's own copies from and to what lies behind the end of a file. */
static void behind_the_end(void)
{
    char name[] = "/tmp/mapfile-XXXXXX", *at;
    int file = mkstemp(name), ends[2];

    CHECK(file >= 0 && unlink(name) == 0 && write(file, "x", 1) == 1 && pipe(ends) == 0);
    at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(at != MAP_FAILED && write(ends[1], at, 1) == 1);
    TRY(write(ends[1], at + 4096, 1));
    TRY(read(ends[0], at + 4096, 1));
    TRY(stat("/", (struct stat *)(at + 4096)));
    TRY(open(at + 4096, O_RDONLY));
    CHECK(munmap(at, 8192) == 0 && close(file) == 0 && close(ends[0]) == 0 && close(ends[1]) == 0);
}

int main(void)
{
    scratch();
    char buffer[20] = {0};
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    CHECK(ftruncate(fd, 3 * 4096) == 0 && pwrite(fd, "hello", 5, 4096) == 5);
    char *shared = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4096);
    char *private = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 4096);
    CHECK(shared != MAP_FAILED && private != MAP_FAILED);
    say("%s %s\n", shared, private);
    private[0] = 'J';
    shared[1] = 'E';
    CHECK(pread(fd, buffer, 5, 4096) == 5);
    say("file %s private %s\n", buffer, private);
    CHECK(pwrite(fd, "Y", 1, 4100) == 1);
    say("shared %s\n", shared);
    reap(CHILD(shared[2] = 'L'; private[3] = 'x'));
    CHECK(pread(fd, buffer, 5, 4096) == 5);
    say("after a child %s %s\n", buffer, private);
    TRY(msync(shared, 8192, MS_SYNC));
    close(fd);
    shared[4096] = 'z';
    fd = open("f", O_RDONLY);
    CHECK(pread(fd, buffer, 1, 8192) == 1);
    say("after close %c\n", *buffer);
    char *ro = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    TRY(mprotect(ro, 4096, PROT_READ | PROT_WRITE));
    char *copy = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 4096);
    copy[0] = 'c';
    say("a private copy of a read-only file: %s\n", copy);
    TRY(mmap(NULL, 4096, PROT_READ, MAP_SHARED_VALIDATE | MAP_POPULATE | MAP_NORESERVE, fd, 0) == MAP_FAILED ? -1 : 0);
    TRY(mmap(NULL, 4096, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0) == MAP_FAILED ? -1 : 0);
    TRY(mmap(NULL, 4096, PROT_READ, MAP_SHARED_VALIDATE | 0x200000, fd, 0) == MAP_FAILED ? -1 : 0);
    TRY(mmap(NULL, 4096, PROT_READ, MAP_SHARED | 0x200000, fd, 0) == MAP_FAILED ? -1 : 0);
    int wo = open("f", O_WRONLY);
    TRY(mmap(NULL, 4096, PROT_READ, MAP_SHARED, wo, 0) == MAP_FAILED ? -1 : 0);
    munmap(shared, 4096);
    say("the other page stays: %c\n", shared[4096]);
    say("beyond the end kills: %d\n", reap(CHILD(truncate("f", 4096); buffer[0] = shared[4096])));
    CHECK(unlink("f") == 0);

    int shm = open("/dev/shm/pysc-guest-test", O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(shm >= 0 && unlink("/dev/shm/pysc-guest-test") == 0 && ftruncate(shm, 65536) == 0);
    int *one = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, shm, 0);
    int *two = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, shm, 0);
    one[16000] = 42;
    reap(CHILD(two[0] = one[16000] + 1));
    say("shm %d %d\n", two[16000], one[0]);
    TRY(memfd_create("huge", MFD_HUGETLB | 0x80));
    TRY(memfd_create("m", 1U << 30));
    TRY(memfd_create("huge", MFD_HUGETLB | 3U << 26)); /* of eight bytes */
    int memory = memfd_create("m", MFD_ALLOW_SEALING);
    CHECK(ftruncate(memory, 4096) == 0);
    TRY(fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
    TRY(ftruncate(memory, 10));
    TRY(ftruncate(memory, 10000));
    TRY(fcntl(memory, F_GET_SEALS));
    TRY(fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE));
    TRY(write(memory, "x", 1));
    TRY(fcntl(fd, F_GET_SEALS));
    behind_the_end();
    return done();
}
