/* Reading and writing files: vectors, positions, holes, ends, truncation, partial buffers, seek whences. */
#include "guest.h"
#include <sys/resource.h>

#ifndef RWF_NOAPPEND
#define RWF_NOAPPEND 0x20
#endif

static volatile int xfsz;
static void on_xfsz(int signal UNUSED) { xfsz++; }

static volatile int writing;

static void *look_at_flags(void *fd)
{
    long seen = 0;
    while (writing)
        seen |= fcntl((int)(intptr_t)fd, F_GETFL) & O_APPEND;
    return (void *)seen;
}

/* Appending by a flag of the call: where it goes, whose position moves, and that nobody else sees it. */
static void append_once(void)
{
    struct iovec part = {"xy", 2}, none = {"", 0};
    int fd = open("appended", O_RDWR | O_CREAT, 0600);
    TRY(write(fd, "abcdef", 6));
    TRY(pwritev2(fd, &part, 1, 1, RWF_APPEND));
    TRY(lseek(fd, 0, SEEK_CUR));
    TRY(lseek(fd, 2, SEEK_SET));
    TRY(pwritev2(fd, &part, 1, -1, RWF_APPEND));
    TRY(lseek(fd, 0, SEEK_CUR));
    TRY(fcntl(fd, F_SETFL, O_APPEND));
    TRY(pwritev2(fd, &part, 1, 3, 0));
    TRY(pwritev2(fd, &part, 1, 3, RWF_NOAPPEND));
    TRY(pwritev2(fd, &part, 1, 3, RWF_NOAPPEND | RWF_APPEND));
    TRY(pwritev2(fd, &none, 1, 3, RWF_NOAPPEND | RWF_APPEND));
    TRY(lseek(fd, 1, SEEK_SET));
    TRY(pwritev2(fd, &part, 1, -1, RWF_NOAPPEND));
    TRY(lseek(fd, 0, SEEK_CUR));
    char text[32] = "";
    TRY(pread(fd, text, sizeof text - 1, 0));
    say("%s\n", text);
    TRY(fcntl(fd, F_SETFL, 0));
    pthread_t thread;
    void *seen;
    size_t size = 1 << 20;
    struct iovec large = {calloc(1, size), size};
    writing = 1;
    pthread_create(&thread, NULL, look_at_flags, (void *)(intptr_t)fd);
    for (int i = 0; i < 20; i++)
        CHECK(pwritev2(fd, &large, 1, 0, RWF_APPEND) == (ssize_t)size);
    writing = 0;
    pthread_join(thread, &seen);
    say("seen by others: %ld, size %ld\n", (long)seen, (long)lseek(fd, 0, SEEK_END));
    free(large.iov_base);
    unlink("appended");
    close(fd);
}

int main(void)
{
    char a[4] = "", b[8] = "", big[9000];
    scratch();
    append_once();
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    struct iovec out[3] = {{"abc", 3}, {NULL, 0}, {"defgh", 5}}, in[2] = {{a, 3}, {b, 7}};
    TRY(writev(fd, out, 3));
    TRY(lseek(fd, 0, SEEK_SET));
    TRY(readv(fd, in, 2));
    say("%.3s %.5s\n", a, b);
    TRY(pwritev(fd, out, 3, 4));
    TRY(preadv(fd, in, 2, 1));
    say("%.3s %.7s\n", a, b);
    TRY(preadv2(fd, in, 2, -1, 0));
    TRY(pread(fd, a, 3, 100));
    TRY(pread(fd, a, 3, -1));
    TRY(pwrite(fd, a, 0, 0));
    TRY(syscall(SYS_readv, fd, in, -1));
    TRY(readv(fd, in, 0));
    TRY(syscall(SYS_readv, fd, in, 1025));
    in[1].iov_len = (size_t)-1;
    TRY(readv(fd, in, 2));
    in[1] = (struct iovec){BAD, 5};
    TRY(preadv(fd, in, 2, 0)); /* what fits before the bad one */
    in[0] = in[1];
    TRY(preadv(fd, in, 1, 0));
    TRY(lseek(fd, 100000, SEEK_SET));
    TRY(write(fd, "end", 3));
    TRY(lseek(fd, -3, SEEK_END));
    TRY(lseek(fd, -1, SEEK_SET));
    TRY(lseek(fd, 0, 99));
    TRY(lseek(fd, 0x7fffffffffffffff, SEEK_CUR));
    TRY(lseek(fd, 0, SEEK_DATA));
    TRY(lseek(fd, 200000, SEEK_DATA));
    TRY(pread(fd, big, 9000, 50000));
    for (int i = 0; i < 9000; i++)
        CHECK(big[i] == 0);
    TRY(ftruncate(fd, 5));
    TRY(pread(fd, big, 9000, 0));
    TRY(ftruncate(fd, 8));
    TRY(pread(fd, big, 9000, 0));
    say("zeroes after growth: %d %d %d\n", big[5], big[6], big[7]);
    TRY(ftruncate(fd, -1));
    TRY(truncate("f", 2));
    TRY(truncate("nothing", 2));
    TRY(truncate(".", 2));
    TRY(ftruncate(open("f", O_RDONLY), 1));
    TRY(fallocate(fd, 0, 0, 1000));
    TRY(fallocate(fd, FALLOC_FL_KEEP_SIZE, 2000, 1000));
    TRY(fallocate(fd, 0, 0, 0));
    TRY(lseek(fd, 0, SEEK_END));
    TRY(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
    TRY(fsync(fd));
    TRY(fdatasync(fd));
    TRY(fsync(99));
    /* A buffer that ends at an unmapped page. */
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mprotect(pages + 4096, 4096, PROT_NONE) == 0 && ftruncate(fd, 9000) == 0);
    TRY(pread(fd, pages + 4090, 6, 0));
    TRY(pread(fd, pages + 4096, 10, 0));
    TRY(pwrite(fd, pages + 4096, 10, 0));
    TRY(pread(fd, pages + 4090, 100, 9000));
    CHECK(lseek(fd, 0, SEEK_SET) == 0); /* what was not given is not lost */
    TRY(read(fd, pages + 4096, 10));
    TRY(lseek(fd, 0, SEEK_CUR));
    TRY(read(fd, pages + 4090, 10));
    TRY(lseek(fd, 0, SEEK_CUR));
    TRY(readv(fd, (struct iovec[2]){{pages, 5}, {pages + 4093, 10}}, 2));
    TRY(lseek(fd, 0, SEEK_CUR));
    TRY(write(fd, pages + 4096, 10));
    TRY(write(fd, pages + 4090, 10));
    TRY(lseek(fd, 0, SEEK_CUR));
    TRY(writev(fd, (struct iovec[2]){{pages, 5}, {pages + 4093, 10}}, 2));
    TRY(lseek(fd, 0, SEEK_CUR));
    TRY(pread(fd, pages, 10, LONG_MAX - 5));
    TRY(pread(fd, pages, 10, LONG_MAX - 10));
    TRY(pwrite(fd, pages, 10, LONG_MAX - 5));
    TRY(syscall(SYS_read, fd, a, -1L));
    TRY(syscall(SYS_write, fd, a, -1L));
    TRY(preadv2(fd, &(struct iovec){a, 1}, 1, 0, RWF_APPEND));
    handle(SIGXFSZ, 0, on_xfsz);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){10000, 10000});
    TRY(pwrite(fd, big, 9000, 5000));
    TRY(pwrite(fd, big, 9000, 10000));
    TRY(ftruncate(fd, 20000));
    TRY(fallocate(fd, 0, 5000, 10000));
    TRY(fallocate(fd, 0, 0, 10000));
    TRY(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 20000));
    say("SIGXFSZ %d\n", xfsz);
    TRY(read(open(".", O_RDONLY), a, 1));
    TRY(syscall(SYS_pread64, fd, a, 1, 1ul << 63));
    return done();
}
