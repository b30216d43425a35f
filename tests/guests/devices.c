/* Devices of /dev, randomness, and the standard links. */
#include "guest.h"
#include <poll.h>
#include <sys/random.h>

int main(void)
{
    char buffer[100], other[100], path[100] = {0};
    int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDWR), full = open("/dev/full", O_RDWR), random = open("/dev/urandom", O_RDONLY);
    memset(buffer, 1, sizeof buffer);
    TRY(read(null, buffer, 100));
    TRY(write(null, buffer, 100));
    TRY(lseek(null, 50, SEEK_SET));
    TRY(pread(null, buffer, 10, 1000));
    TRY(read(zero, buffer, 100));
    say("%d %d\n", buffer[0], buffer[99]);
    TRY(write(zero, buffer, 100));
    TRY(read(full, buffer, 100));
    TRY(write(full, buffer, 100));
    TRY(read(random, buffer, 100));
    TRY(read(random, other, 100));
    CHECK(memcmp(buffer, other, 100) != 0);
    TRY(getrandom(buffer, 100, 0));
    TRY(getrandom(buffer, 100, GRND_NONBLOCK));
    struct iovec two[2] = {{buffer, 50}, {buffer + 50, 50}};
    memset(buffer, 1, sizeof buffer);
    TRY(writev(null, two, 2));
    TRY(readv(null, two, 2));
    TRY(readv(zero, two, 2));
    say("%d %d\n", buffer[0], buffer[99]);
    TRY(pwrite(zero, buffer, 10, 5));
    TRY(pread(zero, buffer, 10, -1));
    TRY(pwrite(null, buffer, 10, -1));
    TRY(read(zero, BAD, 10));
    TRY(read(zero, buffer, 0));
    TRY(write(null, buffer, 0));
    TRY(lseek(null, 0, SEEK_CUR));
    size_t many = 3 << 20;
    char *large = malloc(many);
    memset(large, 7, many);
    TRY(read(zero, large, 65536));
    say("%d %d %d\n", large[0], large[65535], large[65536]);
    TRY(read(zero, large, many));
    say("%d\n", large[many - 1]);
    TRY(write(null, large, many));
    TRY(read(open("/dev/null", O_WRONLY), buffer, 1));
    TRY(write(open("/dev/zero", O_RDONLY), buffer, 1));
    char *hole = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(munmap(hole + 4096, 4096) == 0);
    TRY(read(zero, hole + 8192, 100)); /* begins where nothing is */
    char *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
    CHECK(mapped != MAP_FAILED && mapped[5] == 0);
    struct pollfd polled = {null, POLLIN | POLLOUT, 0};
    poll(&polled, 1, 0);
    say("poll %x\n", polled.revents);
    TRY(fsync(null));
    TRY(ftruncate(null, 0));
    TRY(close(open("/dev/null", O_WRONLY | O_CREAT | O_TRUNC, 0600)));
    const char *links[] = {"/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr"};
    for (int i = 0; i < COUNT(links); i++) {
        memset(path, 0, sizeof path);
        CHECK(readlink(links[i], path, 99) > 0);
        say("%s -> %s\n", links[i], path);
    }
    if (setsid() > 0 || getpgrp() == getpid())
        TRY(open("/dev/tty", O_RDWR));
    TRY(isatty(null));
    TRY(write(open("/dev/stdout", O_WRONLY), "out\n", 4));
    return done();
}
