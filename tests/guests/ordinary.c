/* Long runs of ordinary calls in a fixed but mixed order: what fast paths answer, and now and then what they hand over. */
#include "guest.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static uint64_t seed = 88172645463325252u;

static uint64_t
next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static uint64_t hash = 1469598103934665603u;
static unsigned char in[70000], out[70000];

static void
note(long result)
{
    hash = (hash ^ (uint64_t)(result < 0 ? -errno : result)) * 1099511628211u;
}

static void
note_bytes(long result, const unsigned char *bytes)
{
    note(result);
    for (long i = 0; i < result; i++)
        hash = (hash ^ bytes[i]) * 1099511628211u;
}

static size_t
some(void)
{
    size_t sizes[] = {1, 10, 300, 4096, 5000, 20000, 65536, sizeof in};
    return sizes[next() % 8];
}

/* Cut `size` bytes at `bytes` into parts, some of them empty; sometimes more than fast paths take. */
static int
cut(struct iovec *parts, unsigned char *bytes, size_t size)
{
    int n = 0, most = next() % 8 ? 7 : 20;

    while (size && n < most) {
        size_t part = next() % 4 ? next() % (size + 1) : size;

        parts[n++] = (struct iovec){bytes, part};
        bytes += part;
        size -= part;
    }
    parts[n] = (struct iovec){bytes, size};
    return n + 1;
}

static void
vectors(int fd, int rounds)
{
    struct iovec parts[24];

    for (int i = 0; i < rounds; i++) {
        size_t size = some();
        off_t at = (off_t)(next() % 100000);

        memset(out, (int)next(), 64);
        memset(in, 0, sizeof in);
        switch (next() % 6) {
        case 0: note_bytes(readv(fd, parts, cut(parts, in, size)), in); break;
        case 1: note_bytes(preadv(fd, parts, cut(parts, in, size), at), in); break;
        case 2: note_bytes(preadv2(fd, parts, cut(parts, in, size), next() % 2 ? -1 : at, 0), in); break;
        case 3: note(writev(fd, parts, cut(parts, out, size))); break;
        case 4: note(pwritev(fd, parts, cut(parts, out, size), at)); break;
        default: note(pwritev2(fd, parts, cut(parts, out, size), next() % 2 ? -1 : at, 0)); break;
        }
        note(lseek(fd, 0, SEEK_CUR));
        if (next() % 4 == 0)
            note(lseek(fd, at, SEEK_SET));
    }
}

/* Parts that cannot be had: before, in and behind what can. */
static void
bad_parts(int fd)
{
    uint64_t one = 1;
    struct iovec parts[3] = {{in, 10}, {BAD, 10}, {in + 10, 10}};
    struct iovec three[3] = {{&one, 8}, {&one, 8}, {&one, 7}}, empty[2] = {{in, 0}, {&one, 8}};
    int end[2], event = eventfd(0, EFD_NONBLOCK);

    CHECK(event >= 0 && pipe2(end, O_NONBLOCK) == 0);
    CHECK(ftruncate(fd, 1000) == 0);
    for (int i = 0; i < 3; i++) {
        CHECK(lseek(fd, 100, SEEK_SET) == 100);
        note(writev(fd, parts + i, 3 - i));
        note(readv(fd, parts + i, 3 - i));
        note(preadv(fd, parts + i, 3 - i, 5));
        note(lseek(fd, 0, SEEK_CUR));
        note(writev(end[1], parts + i, 3 - i));
        note(read(end[0], in, 100));
    }
    note(writev(event, three, 3));
    note_bytes(read(event, in, 8), in);
    note(writev(event, three + 2, 1));
    note(writev(event, empty, 2));
    note(syscall(SYS_readv, fd, parts, -1));
    note(syscall(SYS_readv, fd, parts, 1025));
    note(syscall(SYS_readv, fd, NULL, 2));
    note(writev(fd, parts, 0));
    parts[0].iov_len = (size_t)-1;
    note(readv(fd, parts, 2));
    note(preadv(fd, parts, 2, -5));
    note(preadv2(fd, parts, 2, -2, 0));
    note(preadv(end[0], parts + 2, 1, 0));
    close(end[0]);
    close(end[1]);
    close(event);
}

static void
regular(int fd, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        size_t size = some();
        off_t at = (off_t)(next() % 100000);
        struct stat st;

        memset(out, (int)next(), 64);
        switch (next() % 8) {
        case 0: note(lseek(fd, at, SEEK_SET)); break;
        case 1: note(lseek(fd, (off_t)(next() % 200) - 100, next() % 2 ? SEEK_CUR : SEEK_END)); break;
        case 2: note_bytes(read(fd, in, size), in); break;
        case 3: note_bytes(pread(fd, in, size, at), in); break;
        case 4: note(write(fd, out, size)); break;
        case 5: note(pwrite(fd, out, size, at)); break;
        case 6: note(ftruncate(fd, at)); break;
        default: note(fstat(fd, &st)); note(st.st_size); break;
        }
    }
}

static void
queues(int rounds)
{
    int end[2], event = eventfd(3, EFD_NONBLOCK);
    uint64_t count;

    CHECK(event >= 0 && pipe2(end, O_NONBLOCK) == 0);
    for (int i = 0; i < rounds; i++) {
        size_t size = 4096 * (1 + next() % 3); /* whole pages: room in a pipe is counted by them */

        struct iovec parts[24];

        switch (next() % 6) {
        case 0: note(write(end[1], out, size)); break;
        case 1: note_bytes(read(end[0], in, size), in); break;
        case 2: note(writev(end[1], parts, cut(parts, out, size))); break;
        case 3: note_bytes(readv(end[0], parts, cut(parts, in, size)), in); break;
        case 4: count = next() % 3 ? next() % 100 : UINT64_MAX - next() % 3; note(write(event, &count, 8)); break;
        default: note_bytes(read(event, &count, 8), (unsigned char *)&count); break;
        }
        struct pollfd set[3] = {{end[0], POLLIN, 0}, {end[1], POLLOUT, 0}, {event, POLLIN | POLLOUT, 0}};

        note(poll(set, 3, 0));
        note_bytes(sizeof set, (unsigned char *)set);
    }
    close(end[0]);
    close(end[1]);
    close(event);
}

/* What is ready, asked in every way; nothing waits. */
static void
readiness(int fd, int rounds)
{
    int end[2], event = eventfd(0, EFD_NONBLOCK), all[6];
    static const struct timespec none;
    uint64_t count = 1;

    CHECK(event >= 0 && pipe2(end, O_NONBLOCK) == 0);
    memcpy(all, (int[]){fd, end[0], end[1], event, 63, -1}, sizeof all);
    for (int i = 0; i < rounds; i++) {
        struct pollfd set[40];
        struct timeval zero = {0, 0};
        nfds_t n = 1 + next() % (next() % 8 ? 4 : 40);
        fd_set sets[3];

        for (nfds_t k = 0; k < n; k++)
            set[k] = (struct pollfd){all[next() % 6], (short)(next() & 0x31f), (short)next()};
        for (int k = 0; k < 3; k++) {
            FD_ZERO(&sets[k]);
            for (int m = 0; m < (next() % 8 ? 4 : 5); m++) {
                if (next() % 2)
                    FD_SET(all[m], &sets[k]);
            }
        }
        switch (next() % 8) {
        case 0: note(write(end[1], out, 1 + next() % 100)); break;
        case 1: note(read(end[0], in, 1 + next() % 200)); break;
        case 2: count = next() % 2 ? UINT64_MAX - 1 : 1; note(write(event, &count, 8)); break;
        case 3: note(read(event, &count, 8)); break;
        case 4: note(poll(set, n, 0)); note_bytes((long)sizeof *set * (long)n, (unsigned char *)set); break;
        case 5: note(ppoll(set, n, &none, NULL)); note_bytes((long)sizeof *set * (long)n, (unsigned char *)set); break;
        case 6: note(syscall(SYS_select, 64 - (int)(next() % 50), sets, sets + 1, next() % 2 ? sets + 2 : NULL, &zero));
                note_bytes(3 * sizeof *sets, (unsigned char *)sets); break;
        default: note(pselect(1 + (int)(next() % 70), sets, sets + 1, sets + 2, &none, NULL));
                 note_bytes(3 * sizeof *sets, (unsigned char *)sets); break;
        }
    }
    close(end[next() % 2]);
    for (int i = 0; i < 3; i++) {
        struct pollfd set[3] = {{end[0], POLLIN, 0}, {end[1], POLLOUT, 0}, {event, POLLIN | POLLOUT, 0}};

        note(poll(set, 3, -1)); /* one is bad, and so ready */
        note_bytes(sizeof set, (unsigned char *)set);
    }
    close(end[0]);
    close(end[1]);
    close(event);
}

static void
note_reports(int epoll, int most)
{
    struct epoll_event reports[8];
    int n = next() % 2 ? epoll_wait(epoll, reports, most, 0) : epoll_pwait(epoll, reports, most, 0, NULL);

    note(n);
    for (int i = 0; i < n; i++) {
        note(reports[i].events);
        note((long)reports[i].data.u64);
    }
}

/* Interest that changes, in every mode; what is reported, in which order, and how often. */
static void
interest(int rounds)
{
    static const uint32_t modes[] = {0, 0, EPOLLET, EPOLLONESHOT, EPOLLET | EPOLLONESHOT};
    int epoll = epoll_create1(0), one[2], other[2], event = eventfd(0, EFD_NONBLOCK), all[5];
    uint64_t count = 1;

    CHECK(epoll >= 0 && event >= 0 && pipe2(one, O_NONBLOCK) == 0 && pipe2(other, O_NONBLOCK) == 0);
    memcpy(all, (int[]){one[0], one[1], other[0], other[1], event}, sizeof all);
    for (int i = 0; i < rounds; i++) {
        int fd = all[next() % 5];
        struct epoll_event wanted = {(uint32_t)(next() % 8) | modes[next() % 5], {.u64 = next()}};

        switch (next() % 10) {
        case 0: note(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wanted)); break;
        case 1: note(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &wanted)); break;
        case 2: note(next() % 4 ? 0 : epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL)); break;
        case 3: note(write(next() % 2 ? one[1] : other[1], out, 1 + next() % 10)); break;
        case 4: note(read(next() % 2 ? one[0] : other[0], in, 1 + next() % 20)); break;
        case 5: note(write(event, &count, 8)); break;
        case 6: note(read(event, in, 8)); break;
        default: note_reports(epoll, 1 + (int)(next() % 8)); break;
        }
    }
    close(one[1]);
    note_reports(epoll, 8);
    close(other[0]);
    note_reports(epoll, 8);
    note(syscall(SYS_epoll_wait, epoll, NULL, 0, 0));
    note(syscall(SYS_epoll_wait, epoll, NULL, -1, 0));
    note(epoll_wait(event, (struct epoll_event *)in, 1, 0));
    close(one[0]);
    close(other[1]);
    close(event);
    note_reports(epoll, 8);
    close(epoll);
}

static void
descriptors(int fd, int rounds)
{
    int end[2];

    CHECK(pipe(end) == 0);
    for (int i = 0; i < rounds; i++) {
        int one = (int)(next() % 40) - 1, other = (int)(next() % 40) - 1;

        if (one == 1 || one == 2 || one == fd || other == 1 || other == 2 || other == fd)
            continue;
        switch (next() % 9) {
        case 0: note(close(one)); break;
        case 1: note(dup(next() % 2 ? end[1] : one)); break;
        case 2: note(dup2(one, other)); break;
        case 3: note(dup3(one, other, next() % 2 ? O_CLOEXEC : 0)); break;
        case 4: note(fcntl(one, F_GETFD)); break;
        case 5: note(fcntl(one, F_SETFD, (int)(next() % 2))); break;
        case 6: note(fcntl(one, next() % 2 ? F_DUPFD : F_DUPFD_CLOEXEC, other)); break;
        case 7: note(fcntl(one, F_GETFL) & (O_ACCMODE | O_NONBLOCK | O_APPEND)); break;
        default: note(fcntl(fd, F_SETFL, next() % 2 ? O_APPEND : 0)); break;
        }
    }
}

int
main(void)
{
    char name[] = "/tmp/ordinary-XXXXXX";
    int fd;

    for (fd = 3; fd < 64; fd++)
        close(fd);
    close(0);
    CHECK(open("/dev/null", O_RDONLY) == 0);
    fd = mkstemp(name);

    CHECK(fd >= 0 && unlink(name) == 0);
    for (int i = 0; i < 4; i++) {
        regular(fd, 300);
        say("regular %llx\n", (unsigned long long)hash);
        queues(300);
        say("queues %llx\n", (unsigned long long)hash);
        descriptors(fd, 300);
        say("descriptors %llx\n", (unsigned long long)hash);
        readiness(fd, 800);
        say("readiness %llx\n", (unsigned long long)hash);
        interest(1500);
        say("interest %llx\n", (unsigned long long)hash);
        vectors(fd, 300);
        say("vectors %llx\n", (unsigned long long)hash);
    }
    struct stat attributes;
    for (int i = 0; i < 300; i++) { /* as programs do that start with no descriptors, or look for those they have */
        int closed = i % 2 ? 1000 + i : -1 - i;
        note(close(closed));
        note(fcntl(closed, F_GETFD));
        note(fstat(closed, &attributes));
    }
    bad_parts(fd);
    say("bad parts %llx\n", (unsigned long long)hash);
    return done();
}
