/* sendfile, splice, tee, vmsplice and copy_file_range: what they move, what they refuse. */
#include "guest.h"
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

/* What can be a source, of pipes and of files; `full` is a full pipe's. */
static void from(const char *name, int fd, int out, int full)
{
    int end[2];
    CHECK(fd >= 0 && pipe(end) == 0 && ftruncate(out, 0) == 0);
    say("from %s\n", name);
    TRY(splice(fd, NULL, end[1], NULL, 16, SPLICE_F_NONBLOCK));
    TRY(splice(fd, NULL, full, NULL, 16, SPLICE_F_NONBLOCK));
    TRY(sendfile(end[1], fd, NULL, 16));
    TRY(sendfile(end[1], fd, NULL, 0));
    TRY(sendfile(full, fd, NULL, 16));
    TRY(sendfile(full, fd, NULL, 0));
    TRY(sendfile(out, fd, NULL, 16));
    TRY(sendfile(out, fd, NULL, 0));
    TRY(sendfile(end[1], fd, NULL, -1));
    close(end[0]), close(end[1]), close(fd);
}

int main(void)
{
    char buffer[100] = {0}, name[4096] = {0};
    scratch();
    int in = open("in", O_RDWR | O_CREAT, 0600), out = open("out", O_RDWR | O_CREAT, 0600), end[2], pair[2];
    CHECK(write(in, "0123456789abcdef", 16) == 16 && lseek(in, 0, SEEK_SET) == 0 && pipe(end) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    off_t at = 4;
    TRY(sendfile(out, in, &at, 6));
    say("offset %ld, file's %ld\n", (long)at, (long)lseek(in, 0, SEEK_CUR));
    TRY(sendfile(out, in, NULL, 3));
    TRY(sendfile(pair[0], in, NULL, 100));
    TRY(read(pair[1], buffer, 100));
    TRY(sendfile(out, in, NULL, 10));
    TRY(pread(out, buffer, 100, 0));
    say("%.9s\n", buffer);
    at = 0;
    TRY(sendfile(end[1], in, &at, 5));
    TRY(sendfile(out, end[0], NULL, 5));
    at = -1;
    TRY(sendfile(out, in, &at, 5));
    TRY(splice(end[0], NULL, out, NULL, 100, 0));
    loff_t place = 10;
    TRY(splice(in, &place, end[1], NULL, 4, 0));
    say("from %ld\n", (long)place);
    TRY(splice(in, NULL, out, NULL, 4, 0));
    TRY(splice(end[0], &place, out, NULL, 4, 0));
    TRY(splice(end[0], NULL, pair[0], NULL, 4, 0));
    TRY(splice(end[0], NULL, out, NULL, 4, SPLICE_F_NONBLOCK));
    int other[2];
    CHECK(pipe(other) == 0 && write(end[1], "teed", 4) == 4);
    TRY(tee(end[0], other[1], 100, 0));
    TRY(read(other[0], buffer, 100));
    TRY(read(end[0], buffer, 100));
    TRY(tee(in, other[1], 4, 0));
    struct iovec parts[2] = {{"vm", 2}, {"splice", 6}};
    TRY(vmsplice(end[1], parts, 2, 0));
    TRY(read(end[0], buffer, 100));
    loff_t a = 2, b = 20;
    TRY(copy_file_range(in, &a, out, &b, 5, 0));
    say("%ld %ld\n", (long)a, (long)b);
    TRY(copy_file_range(in, &a, in, &b, 5, 0));
    a = 0, b = 2;
    TRY(copy_file_range(in, &a, in, &b, 5, 0));
    a = b = 1 << 20; /* nothing is there: nothing overlaps */
    TRY(copy_file_range(in, &a, in, &b, 5, 0));
    TRY(copy_file_range(in, NULL, end[1], NULL, 5, 0));
    TRY(copy_file_range(in, NULL, open(".", O_RDONLY), NULL, 5, 0));
    int append = open("out", O_WRONLY | O_APPEND);
    TRY(copy_file_range(in, NULL, append, NULL, 5, 0));
    TRY(splice(end[0], NULL, append, NULL, 5, 0));
    TRY(copy_file_range(append, NULL, out, NULL, 5, 0));
    TRY(fcntl(end[1], F_SETFL, O_APPEND));
    TRY(splice(in, &(loff_t){0}, end[1], NULL, 4, 0));
    TRY(sendfile(end[1], in, &(off_t){0}, 4));
    TRY(splice(end[0], NULL, other[1], NULL, 8, 0));
    int counter = eventfd(0, 0), full[2];
    TRY(sendfile(counter, in, &(off_t){0}, 8));
    TRY(sendfile(counter, in, &(off_t){1000}, 8));
    CHECK(pipe2(full, O_NONBLOCK) == 0);
    while (write(full[1], name, sizeof name) > 0)
        ;
    from("an eventfd", eventfd(5, EFD_SEMAPHORE), out, full[1]);
    from("a timerfd", timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), out, full[1]);
    from("inotify", inotify_init1(IN_NONBLOCK), out, full[1]);
    from("a process", (int)syscall(SYS_pidfd_open, getpid(), 0), out, full[1]);
    from("a directory", open(".", O_RDONLY), out, full[1]);
    from("/dev/null", open("/dev/null", O_RDONLY), out, full[1]);
    from("/dev/zero", open("/dev/zero", O_RDONLY), out, full[1]);
    from("/dev/urandom", open("/dev/urandom", O_RDONLY), out, full[1]);
    from("a file", dup(in), out, full[1]);
    int empty[2];
    CHECK(pipe2(empty, O_NONBLOCK) == 0);
    from("a pipe", empty[0], out, full[1]);
    CHECK(pipe2(empty, O_NONBLOCK) == 0 && write(empty[1], "x", 1) == 1);
    TRY(sendfile(end[1], empty[0], NULL, 1));
    TRY(sendfile(empty[1], empty[0], NULL, 1));
    handle(SIGPIPE, 0, SIG_IGN);
    CHECK(pipe2(empty, 0) == 0 && close(empty[0]) == 0);
    TRY(sendfile(empty[1], timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), NULL, 16));
    TRY(sendfile(empty[1], pair[0], NULL, 16));
    TRY(sendfile(empty[1], pair[0], NULL, 0));
    TRY(splice(pair[0], NULL, empty[1], NULL, 16, SPLICE_F_NONBLOCK));
    return done();
}
