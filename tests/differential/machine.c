/* A guest that interprets programs of system calls.  Standard input holds many programs, each of instructions of eight
 * bytes: opcode, a, b, c, and a 32-bit number.  Each instruction is one call on a small set of files, pipes and other
 * descriptors; its result, and a checksum of the bytes that it delivered, are printed.  Nothing that depends on the
 * machine is printed, and no program can wait: every descriptor that could block is O_NONBLOCK.
 *
 * An opcode of 255 ends a program: all descriptors are closed, all files removed, and a line of dashes printed.
 *
 * The arguments are "new" and a directory, for a new folder that is emptied after each program, or "folders" and one:
 * each program runs in a folder of its own below it then, which has files already: 0, 1, 2 ...
 * Nothing is removed then, and no directory renamed: the names that an overlay's lower side has cannot be. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

struct instruction {
    uint8_t opcode, a, b, c;
    uint32_t number;
};

enum { FIRST_FD = 3, FDS = 16, SPACE = 1 << 17, TOP_FD = 40, STRANGER = 1000, PIECE = 64, END = 255 };

static char buffer[SPACE];
static char *edge; /* the end of memory: behind it nothing can be read or written */
static const char *folders;
static const char *const names[] = {"a", "b", "d/a", "d/b", "d", "e", "l", "e/x", "missing/x", ".", "", "a/x", "d/..",
                                    "d/s", "d/s/f", "k", "k/b", "d/up", "o", "d/", "l/", "a/", "d/../d//b", "./d/s/..", "k/s/../up"};
static const int open_flags[] = {
    O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_EXCL, O_RDWR | O_CREAT | O_TRUNC,
    O_WRONLY | O_CREAT | O_APPEND, O_RDWR | O_APPEND, O_RDONLY | O_DIRECTORY, O_RDONLY | O_NOFOLLOW, O_PATH,
    O_RDONLY | O_CLOEXEC, O_RDWR | O_CREAT | O_NONBLOCK};

#define PICK(array, index) ((array)[(index) % (sizeof(array) / sizeof *(array))])
#define NAME(index) PICK(names, index)

static int fd_of(uint8_t index) { return FIRST_FD + index % FDS; }

/* Sizes cluster where behaviour changes. */
static uint32_t size_of(uint32_t number)
{
    static const uint32_t edges[] = {0, 1, 7, 8, 9, 100, 4095, 4096, 4097, 8192, 65535, 65536, 65537, 70000};
    return number & 1 ? PICK(edges, number >> 1) : (number >> 1) % SPACE;
}

/* How much may go to a descriptor: pipes and sockets never fill, since when they are full is not a matter of bytes; and
 * kernels differ in whether an eventfd takes more than eight. */
static uint32_t bounded(int fd, uint32_t size)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return size;
    if (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode))
        return size % 1001;
    return (st.st_mode & S_IFMT) == 0 ? size % 9 : size;
}

static uint32_t sum(const char *bytes, long count)
{
    uint32_t hash = 2166136261u;
    for (long i = 0; i < count; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 16777619u;
    return hash;
}

static void fill(uint8_t seed, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        buffer[i] = (char)(seed + i * 7 + i / 256);
}

/* Make a descriptor that a program may have: never one that blocks, never one beyond the program's own. */
static long keep(long fd)
{
    if (fd >= FIRST_FD + FDS) {
        close((int)fd);
        return -9999;
    }
    return fd;
}

static long keep_pair(int result, int pair[2])
{
    if (result)
        return result;
    return keep(pair[0]) * 100 + keep(pair[1]);
}

static long result_of(long result, long delivered, uint32_t extra)
{
    static int line;
    if (result < 0)
        printf("%d %s", line++, result == -9999 ? "full" : strerrorname_np(errno));
    else
        printf("%d %ld", line++, result);
    if (result > 0 && delivered > 0)
        printf(" %08x", sum(buffer, delivered));
    printf(extra ? " +%u\n" : "\n", extra);
    return result;
}

static int is_regular(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static int is_memory(int fd)
{
    char path[40], link[8] = {0};
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return readlink(path, link, sizeof link) == sizeof link && memcmp(link, "/memfd:m", sizeof link) == 0;
}

/* A buffer that ends too early: of files it is known what is taken then.  Or a position at the end of all. */
static void run_over_the_edge(const struct instruction *i)
{
    int fd = fd_of(i->a);
    uint32_t size = size_of(i->number), there = i->b * 40;
    struct iovec parts[2] = {{edge - there, there / 2}, {edge - there + there / 2, size}};
    long n;
    if (!is_regular(fd))
        return;
    memset(edge - there, i->c, there);
    switch (i->opcode << 2 | (i->c & 3)) {
    case 6 << 2:
        n = syscall(SYS_read, fd, edge - there, size);
        break;
    case 6 << 2 | 1:
        n = readv(fd, parts, 2);
        break;
    case 6 << 2 | 2:
        n = syscall(SYS_pread64, fd, edge - there, size, i->c * 100L);
        break;
    case 6 << 2 | 3:
        n = syscall(SYS_pread64, fd, edge - there, there, INT64_MAX - there - 1 + (i->number & 3));
        break;
    case 7 << 2:
        n = syscall(SYS_write, fd, edge - there, size);
        break;
    case 7 << 2 | 1:
        n = writev(fd, parts, 2);
        break;
    default:
        n = syscall(SYS_pwrite64, fd, edge - there, size, i->c * 100L);
    }
    if (n > 0)
        memcpy(buffer, edge - there, (size_t)n);
    result_of(n, i->opcode == 6 ? n : 0, 0);
    if (i->opcode == 6)
        result_of(lseek(fd, 0, SEEK_CUR), 0, 0);
}

static void run_reading(const struct instruction *i)
{
    long n;
    int fd = fd_of(i->a);
    uint32_t size = size_of(i->number);
    struct iovec parts[2] = {{buffer, size / 3}, {buffer + size / 3, size - size / 3}};
    if (i->opcode > 5) {
        run_over_the_edge(i);
        return;
    }
    switch (i->opcode) {
    case 0:
        n = read(fd, buffer, size);
        break;
    case 1:
        n = pread(fd, buffer, size, i->b * 1000 + i->c);
        break;
    case 2:
        n = readv(fd, parts, 2);
        break;
    case 3:
        n = preadv(fd, parts, 2, i->b * 1000);
        break;
    case 5:
        n = preadv2(fd, parts, 2, i->b & 1 ? -1 : i->b * 1000, 0);
        break;
    default:
        n = recv(fd, buffer, size, MSG_DONTWAIT | (i->b & 1 ? MSG_PEEK : 0));
    }
    result_of(n, n, 0);
}

static void run_writing(const struct instruction *i)
{
    int fd = fd_of(i->a);
    uint32_t size = bounded(fd, size_of(i->number));
    uint32_t head = size > 8 ? size / 4 : 0; /* an eventfd looks at each part by itself */
    struct iovec parts[3] = {{buffer, head}, {buffer, 0}, {buffer + head, size - head}};
    uint64_t count = i->b & 1 ? i->number : ~0ul - i->c;
    fill(i->b, size);
    switch (i->opcode) {
    case 8:
        result_of(write(fd, buffer, size), 0, 0);
        break;
    case 9:
        result_of(pwrite(fd, buffer, size, i->c * 1000), 0, 0);
        break;
    case 10:
        result_of(writev(fd, parts, 3), 0, 0);
        break;
    case 11:
        result_of(pwritev(fd, parts, 3, i->c * 100), 0, 0);
        break;
    case 12:
        result_of(write(fd, &count, 8), 0, 0); /* meant for eventfds */
        break;
    case 14:
        result_of(pwritev2(fd, parts, 3, i->b & 1 ? -1 : i->c * 100, 0), 0, 0);
        break;
    default:
        result_of(send(fd, buffer, size, MSG_DONTWAIT | MSG_NOSIGNAL), 0, 0);
    }
}

static void run_making(const struct instruction *i)
{
    int pair[2] = {0, 0};
    switch (i->opcode) {
    case 16:
    case 17:
        result_of(keep(open(NAME(i->a), PICK(open_flags, i->b) | O_NONBLOCK, i->c & 1 ? 0644 : 0600)), 0, 0);
        break;
    case 18:
        result_of(keep_pair(pipe2(pair, O_NONBLOCK | (i->a & 1 ? O_CLOEXEC : 0)), pair), 0, 0);
        break;
    case 19:
        result_of(keep(eventfd(i->number & 0xffff, EFD_NONBLOCK | (i->a & 1 ? EFD_SEMAPHORE : 0))), 0, 0);
        break;
    case 20:
        result_of(keep_pair(socketpair(AF_UNIX, (i->a & 1 ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0, pair), pair), 0, 0);
        break;
    case 21:
        result_of(keep(epoll_create1(0)), 0, 0);
        break;
    case 22:
        result_of(keep(dup(fd_of(i->a))), 0, 0);
        break;
    case 23:
        result_of(dup2(fd_of(i->a), fd_of(i->b)), 0, 0);
        break;
    case 24:
        result_of(keep(fcntl(fd_of(i->a), i->b & 1 ? F_DUPFD : F_DUPFD_CLOEXEC, fd_of(i->c))), 0, 0);
        break;
    case 25:
        result_of(keep(openat(fd_of(i->a), NAME(i->b), PICK(open_flags, i->c) | O_NONBLOCK, 0600)), 0, 0);
        break;
    case 27:
        result_of(dup3(fd_of(i->a), fd_of(i->b), i->c & 1 ? O_CLOEXEC : i->c & 2 ? O_NONBLOCK : 0), 0, 0);
        break;
    case 28:
        result_of(close_range((unsigned)fd_of(i->a), i->c & 1 ? TOP_FD - 1 : (unsigned)fd_of(i->b), i->c & 2 ? CLOSE_RANGE_CLOEXEC : 0), 0, 0);
        break;
    case 29:
        result_of(keep(memfd_create("memory", i->a & 1 ? MFD_CLOEXEC : i->a & 2 ? MFD_ALLOW_SEALING : 0)), 0, 0);
        break;
    case 30: /* of other files it depends on the file system */
        if (!is_memory(fd_of(i->a)))
            break;
        result_of(fcntl(fd_of(i->a), i->b & 1 ? F_GET_SEALS : F_ADD_SEALS, i->number & 15), 0, 0);
        break;
    default:
        result_of(close(fd_of(i->a)), 0, 0);
    }
}

/* Ready or not, of three descriptors, which may be the same; no program waits long. */
static void run_polling(const struct instruction *i)
{
    struct pollfd polled[3] = {{fd_of(i->a), (short)(i->number & 0x3ff), 77}, {i->b & 1 ? fd_of(i->b) : -1, POLLIN, 77},
                               {fd_of(i->c), POLLOUT, 77}};
    struct timespec wait = {0, i->number & 0x400 ? 100000 : 0};
    struct timeval time = {0, wait.tv_nsec / 1000};
    fd_set in, out, except;
    long result;
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_ZERO(&except);
    FD_SET(fd_of(i->a), &in);
    FD_SET(fd_of(i->b), &out);
    if (i->number & 1)
        FD_SET(fd_of(i->c), i->number & 2 ? &in : &out);
    FD_SET(fd_of(i->c), &except);
    switch (i->opcode) {
    case 43:
        result = poll(polled, 1 + i->number % 3, wait.tv_nsec ? 1 : 0);
        result_of(result, 0, (uint16_t)polled[0].revents + 1000 * (uint32_t)((uint16_t)polled[1].revents + 1000 * polled[2].revents));
        break;
    case 44:
        result = ppoll(polled, 1 + i->number % 3, &wait, NULL);
        result_of(result, 0, (uint16_t)polled[0].revents + 1000 * (uint32_t)((uint16_t)polled[1].revents + 1000 * polled[2].revents));
        break;
    case 45:
        result = syscall(SYS_select, FIRST_FD + FDS - (int)(i->number >> 3 & 3), i->number & 4 ? NULL : &in, &out, &except, &time);
        result_of(result, 0, sum((char *)&in, 8) ^ sum((char *)&out, 8) ^ sum((char *)&except, 8));
        break;
    default:
        result = pselect(FIRST_FD + FDS, &in, i->number & 4 ? NULL : &out, NULL, &wait, NULL);
        result_of(result, 0, sum((char *)&in, 8) ^ sum((char *)&out, 8));
    }
}

static void run_looking(const struct instruction *i)
{
    int fd = fd_of(i->a), value = 0, whence = i->b % 3;
    struct stat st = {0};
    struct flock lock = {.l_type = i->b % 3, .l_start = i->c, .l_len = i->number % 100};
    struct pollfd polled = {fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, 0};
    long result;
    static const int whences[] = {SEEK_SET, SEEK_CUR, SEEK_END};
    switch (i->opcode) {
    case 32:
        if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) /* offsets of directories are the file system's own */
            whence = 0;
        result_of(lseek(fd, whence ? (int32_t)i->number % 100000 : 0, PICK(whences, whence)), 0, 0);
        break;
    case 33:
        result = fstat(fd, &st);
        result_of(result, 0, result ? 0 : (uint32_t)(st.st_mode & (S_IFMT | 0777)));
        if (result == 0 && S_ISREG(st.st_mode))
            printf("size %ld links %ld\n", (long)st.st_size, (long)st.st_nlink);
        break;
    case 34:
        result_of(fcntl(fd, F_GETFD), 0, 0);
        break;
    case 35:
        result_of(fcntl(fd, F_GETFL), 0, 0);
        break;
    case 36:
        result_of(fcntl(fd, F_SETFD, i->b & 1), 0, 0);
        break;
    case 37:
        result_of(fcntl(fd, F_SETFL, O_NONBLOCK | (i->b & 1 ? O_APPEND : 0)), 0, 0);
        break;
    case 38:
        result = poll(&polled, 1, 0);
        result_of(result, 0, (uint32_t)polled.revents);
        break;
    case 39:
        result = ioctl(fd, FIONREAD, &value);
        if (result && errno == EINVAL) /* what an epoll says since Linux 6.9 */
            errno = ENOTTY;
        result_of(result, 0, (uint32_t)value);
        break;
    case 40:
        result_of(fcntl(fd, i->number & 1 ? F_SETLK : F_OFD_SETLK, &lock), 0, 0);
        break;
    case 41:
        result_of(flock(fd, (i->b % 3 == 0 ? LOCK_SH : i->b % 3 == 1 ? LOCK_EX : LOCK_UN) | LOCK_NB), 0, 0);
        break;
    default:
        result_of(ftruncate(fd, size_of(i->number)), 0, 0);
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* The names in a directory, sorted, with their types. */
static void list(const char *path)
{
    static char found[64][300];
    size_t count = 0;
    struct dirent *entry;
    DIR *dir = opendir(path);
    if (dir && dirfd(dir) >= FIRST_FD + FDS)
        errno = EMFILE;
    while (dir && count < 64 && (entry = readdir(dir)))
        snprintf(found[count++], sizeof *found, "%s:%d", entry->d_name, entry->d_type);
    result_of(dir ? (long)count : -1, 0, 0);
    qsort(found, count, sizeof *found, by_name);
    for (size_t n = 0; n < count; n++)
        printf("size %s\n", found[n]);
    if (dir)
        closedir(dir);
}

static void run_naming(const struct instruction *i)
{
    struct stat st = {0};
    struct statx stx = {0};
    const char *a = NAME(i->a), *b = NAME(i->b);
    long result;
    switch (i->opcode) {
    case 48:
        result_of(mkdir(a, 0755), 0, 0);
        break;
    case 49:
        result_of(rmdir(a), 0, 0);
        break;
    case 50:
        result_of(unlink(a), 0, 0);
        break;
    case 51:
        if (folders && ((lstat(a, &st) == 0 && S_ISDIR(st.st_mode)) || (lstat(b, &st) == 0 && S_ISDIR(st.st_mode))))
            break;
        result_of(rename(a, b), 0, 0);
        break;
    case 52:
        result_of(link(a, b), 0, 0);
        break;
    case 53:
        result_of(symlink(a, b), 0, 0);
        break;
    case 54:
        result = readlink(a, buffer, sizeof buffer);
        result_of(result, result, 0);
        break;
    case 55:
        result = i->b & 1 ? stat(a, &st) : lstat(a, &st);
        result_of(result, 0, result ? 0 : (uint32_t)(st.st_mode & (S_IFMT | 0777)));
        break;
    case 56:
        result_of(access(a, i->b & 7), 0, 0);
        break;
    case 57:
        result_of(truncate(a, size_of(i->number)), 0, 0);
        break;
    case 58:
        result_of(chmod(a, i->number & 0777), 0, 0);
        break;
    case 59:
        list(a);
        break;
    case 60:
        result = fstatat(fd_of(i->c), a, &st, i->b & 1 ? AT_SYMLINK_NOFOLLOW : 0);
        result_of(result, 0, result ? 0 : (uint32_t)(st.st_mode & (S_IFMT | 0777)));
        break;
    default:
        result = statx(AT_FDCWD, a, i->b & 1 ? AT_SYMLINK_NOFOLLOW : 0, STATX_BASIC_STATS, &stx);
        result_of(result, 0, result ? 0 : (uint32_t)(stx.stx_mode & (S_IFMT | 0777)));
        if (result == 0 && S_ISREG(stx.stx_mode))
            printf("size %ld links %u\n", (long)stx.stx_size, stx.stx_nlink);
    }
}

static void run_moving(const struct instruction *i)
{
    int from = fd_of(i->a), to = fd_of(i->b);
    uint32_t size = bounded(to, size_of(i->number));
    off_t at = i->c;
    loff_t start = i->c, goal = i->c * 3;
    struct epoll_event event = {.events = (i->number & 0xf) | (i->number >> 8 & 3) << 30, .data.u32 = i->c}, events[8];
    long result;
    switch (i->opcode) {
    case 64:
        result_of(sendfile(to, from, i->c & 1 ? &at : NULL, size), 0, 0);
        break;
    case 65:
        result_of(splice(from, NULL, to, NULL, size, SPLICE_F_NONBLOCK), 0, 0);
        break;
    case 66:
        result_of(copy_file_range(from, &start, to, &goal, size, 0), 0, 0);
        break;
    case 67:
        result_of(tee(from, to, size, SPLICE_F_NONBLOCK), 0, 0);
        break;
    case 68:
        result_of(epoll_ctl(from, 1 + i->number / 16 % 3, to, &event), 0, 0);
        break;
    case 69:
        result = i->c & 1 ? epoll_wait(from, events, 8, 0) : epoll_pwait(from, events, 1 + i->c % 8, 0, NULL);
        result_of(result, 0, result > 0 ? sum((char *)events, result * (long)sizeof *events) : 0);
        break;
    case 70:
        result_of(shutdown(from, i->b % 3), 0, 0);
        break;
    default:
        result_of(fcntl(from, i->c & 1 ? F_GETPIPE_SZ : F_SETPIPE_SZ, 65536 << i->b % 3), 0, 0);
    }
}

/* Send a descriptor with a few bytes, or receive some. */
static void run_passing(const struct instruction *i)
{
    struct iovec part = {buffer, i->c % 50};
    union {
        char bytes[CMSG_SPACE(4 * sizeof(int))];
        struct cmsghdr header;
    } control = {{0}};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control};
    struct cmsghdr *header;
    int fds[4] = {fd_of(i->b), fd_of((uint8_t)i->number), 0, 0}, count = 1 + (i->number >> 8 & 1), got = 0;
    long n;
    if (i->opcode == 78) {
        fill(i->c, (uint32_t)part.iov_len);
        message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        header = CMSG_FIRSTHDR(&message);
        *header = (struct cmsghdr){CMSG_LEN((size_t)count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(header), fds, (size_t)count * sizeof(int));
        result_of(sendmsg(fd_of(i->a), &message, MSG_DONTWAIT | MSG_NOSIGNAL), 0, 0);
        return;
    }
    message.msg_controllen = i->b & 1 ? CMSG_SPACE(4 * sizeof(int)) : i->b & 2 ? CMSG_LEN(sizeof(int)) : 0;
    n = recvmsg(fd_of(i->a), &message, MSG_DONTWAIT | (i->b & 4 ? MSG_CMSG_CLOEXEC : 0) | (i->b & 8 ? MSG_PEEK : 0));
    header = n >= 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (header && header->cmsg_type == SCM_RIGHTS)
        got = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(fds, control.bytes + CMSG_LEN(0), (size_t)got * sizeof(int));
    for (int f = 0; f < got; f++)
        if (fds[f] >= FIRST_FD + FDS)
            close(fds[f]);
    result_of(n, n, (uint32_t)(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) * 100 + (uint32_t)got * 10);
}

static void run_asking(const struct instruction *i)
{
    static const int options[] = {SO_TYPE, SO_DOMAIN, SO_PROTOCOL, SO_ERROR, SO_ACCEPTCONN, SO_PASSCRED, SO_RCVLOWAT, 9999};
    static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, FALLOC_FL_PUNCH_HOLE};
    int fd = fd_of(i->a), value = i->c & 1;
    socklen_t length = i->c % 6;
    struct flock lock = {.l_type = i->b % 3, .l_start = i->c, .l_len = i->number % 100};
    static struct epoll_event events[8]; /* not at the end of memory */
    long result;
    switch (i->opcode) {
    case 72:
        result_of(i->b & 1 ? fsync(fd) : fdatasync(fd), 0, 0);
        break;
    case 73:
        result_of(fallocate(fd, PICK(modes, i->b), i->c * 100, size_of(i->number)), 0, 0);
        break;
    case 74: /* kernels differ in whether one may ask for its own */
        lock.l_type = i->b & 1 ? F_WRLCK : F_RDLCK;
        result = fcntl(fd, i->number & 1 ? F_GETLK : F_OFD_GETLK, &lock);
        result_of(result, 0, result ? 0 : (uint32_t)lock.l_type + 10 * (uint32_t)lock.l_start + 10000 * (uint32_t)lock.l_len);
        break;
    case 75: /* kernels differ in whether the descriptor is looked at first */
        if (fcntl(fd, F_GETFL) < 0 || fcntl(fd, F_GETFL) & O_PATH)
            break;
        result = syscall(SYS_epoll_wait, fd, events, i->b & 1 ? 8 : i->number & 1 ? 0 : INT32_MAX / (i->c & 1 ? 12 : 1) , 0);
        result_of(result, 0, result > 0 ? sum((char *)events, result * (long)sizeof *events) : 0);
        break;
    case 76: /* nothing may block */
        result_of(ioctl(fd, i->b & 1 ? FIOCLEX : i->b & 2 ? FIONCLEX : 0x5421, i->b & 3 ? NULL : &(int){1}), 0, 0);
        break;
    default:
        result = getsockopt(fd, SOL_SOCKET, PICK(options, i->b), &value, &length);
        result_of(result, 0, result ? 0 : (uint32_t)value + 100 * length);
    }
}

/* Look at a file, or change it, in memory. */
static void run_mapping(const struct instruction *i)
{
    int fd = fd_of(i->a), flags = i->b & 1 ? MAP_SHARED : MAP_PRIVATE, write = i->b & 2;
    off_t offset = i->b & 4 ? 4096 : i->b & 8 ? 100 : 0;
    struct stat st;
    char *mapped = mmap(NULL, 8192, PROT_READ | (write ? PROT_WRITE : 0), flags, fd, offset);
    size_t there = 0;
    result_of(mapped == MAP_FAILED ? -1 : 0, 0, 0);
    if (mapped == MAP_FAILED)
        return;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > offset)
        there = (size_t)(st.st_size - offset) < 8192 ? (size_t)(st.st_size - offset) : 8192;
    if (write && there)
        memset(mapped + i->c % there, i->c, 1);
    memcpy(buffer, mapped, there);
    result_of((long)there, (long)there, 0);
    munmap(mapped, 8192);
}

/* Records of a directory, as many as fit in a small buffer: how many, their names and types added to `found`. */
struct listing {
    size_t count;
    char found[128][40];
    long ends[128]; /* where the directory goes on after each */
};

static long list_piece(int fd, size_t size, struct listing *listing)
{
    long got = syscall(SYS_getdents64, fd, buffer, size);
    for (long at = 0; at < got;) {
        struct dirent64 *entry = (struct dirent64 *)(buffer + at);
        if (listing->count < 128 && strcmp(entry->d_name, "new") != 0) {
            listing->ends[listing->count] = entry->d_off;
            snprintf(listing->found[listing->count++], sizeof *listing->found, "%.30s:%d", entry->d_name, entry->d_type);
        }
        at += entry->d_reclen;
    }
    return got;
}

/* List a directory in pieces, while it changes or by going back to where a piece ended: each name comes once. */
static void list_in_pieces(int fd, uint8_t how)
{
    static struct listing listing;
    long got = 1;
    size_t back;
    listing.count = 0;
    if (lseek(fd, 0, SEEK_SET) != 0) {
        result_of(-1, 0, 0);
        return;
    }
    for (int i = 0; i < 1 + how % 3 && got > 0; i++)
        got = list_piece(fd, PIECE, &listing);
    if (how & 4 && got > 0) {
        int made = openat(fd, "new", O_CREAT | O_RDWR | O_NONBLOCK, 0600);
        if (made >= 0)
            close(made);
        unlinkat(fd, "new", 0);
    }
    if (how & 8 && got > 0 && listing.count > 1) {
        back = listing.count - 2;
        if (lseek(fd, listing.ends[back], SEEK_SET) >= 0)
            listing.count = back + 1;
    }
    while (got > 0)
        got = list_piece(fd, how & 16 ? PIECE : SPACE, &listing);
    result_of(got < 0 ? got : (long)listing.count, 0, 0);
    qsort(listing.found, listing.count, sizeof *listing.found, by_name);
    for (size_t n = 0; n < listing.count; n++)
        printf("size %s\n", listing.found[n]);
}

/* A child that shares descriptions, but neither descriptors nor the working directory. */
static void run_child(const struct instruction *i)
{
    struct stat st;
    int status, fd = fd_of(i->a);
    pid_t child;
    fflush(stdout);
    child = fork();
    if (child == 0) {
        int code = chdir(NAME(i->b)) == 0;
        code |= (read(fd, buffer, 5) == 5) << 1;
        code |= (fstat(fd, &st) == 0) << 2;
        close(fd);
        code |= (open(NAME(i->c), O_RDONLY | O_NONBLOCK) >= 0) << 3;
        code |= (stat(NAME(i->c), &st) == 0) << 4;
        code |= (unlink(NAME(i->number)) == 0) << 5;
        _exit(code);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        _exit(4);
    result_of(status >> 8, 0, (uint32_t)(status & 0x7f));
}

/* Up, unless we are at the top: what is above is not the program's. */
static int go_up(void)
{
    struct stat here, top;
    if (stat(".", &here) || fstat(TOP_FD, &top) || here.st_ino == top.st_ino)
        return -1;
    return chdir("..");
}

static void run_placing(const struct instruction *i)
{
    int fd = fd_of(i->a);
    struct stat st;
    long result;
    switch (i->opcode) {
    case 80:
        result_of(chdir(NAME(i->a)), 0, 0);
        break;
    case 81:
        result_of(fchdir(fd), 0, 0);
        break;
    case 82:
        errno = 0;
        result_of(i->a & 1 ? go_up() : fchdir(TOP_FD), 0, 0);
        break;
    case 83:
        list_in_pieces(fd, i->b);
        break;
    case 84:
        run_child(i);
        break;
    case 85: /* and the capabilities with it */
        setfsgid(i->a & 1 ? 0 : STRANGER);
        result_of(setfsuid(i->a & 1 ? 0 : STRANGER), 0, 0);
        break;
    case 86:
        result_of(syscall(SYS_faccessat2, fd, NAME(i->b), i->c & 7, i->number & (AT_EACCESS | AT_SYMLINK_NOFOLLOW)), 0, 0);
        break;
    case 87:
        result = readlinkat(fd, NAME(i->b), buffer, i->c);
        result_of(result, result, 0);
        break;
    case 88:
        result_of(fchownat(fd, NAME(i->b), i->number & 1 ? STRANGER : 0, i->number & 2 ? STRANGER : 0,
                           i->number & 4 ? AT_SYMLINK_NOFOLLOW : 0), 0, 0);
        break;
    case 89: /* kernels differ in whether what has no name has a mode */
        if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
            break;
        result_of(fchmod(fd, i->number & 0777), 0, 0);
        break;
    case 90:
        result_of(unlinkat(fd, NAME(i->b), i->c & 1 ? AT_REMOVEDIR : 0), 0, 0);
        break;
    case 91:
        result_of(mkdirat(fd, NAME(i->b), 0755), 0, 0);
        break;
    case 92:
        result_of(symlinkat(NAME(i->b), fd, NAME(i->c)), 0, 0);
        break;
    case 93:
        result_of(linkat(AT_FDCWD, NAME(i->b), fd, NAME(i->c), i->number & 1 ? AT_SYMLINK_FOLLOW : 0), 0, 0);
        break;
    case 94:
        if (folders && (((lstat(NAME(i->b), &st) == 0 || fstat(fd, &st) == 0) && S_ISDIR(st.st_mode)) ||
                        (lstat(NAME(i->c), &st) == 0 && S_ISDIR(st.st_mode))))
            break;
        result_of(renameat2(AT_FDCWD, NAME(i->b), AT_FDCWD, NAME(i->c), i->number & 3), 0, 0);
        break;
    case 95: {
        if (i->c & 4 && i->c & 8 && fstat(fd, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
            break; /* as with modes */
        struct timespec times[2] = {{i->number % 1000, i->c & 1 ? UTIME_OMIT : 7}, {i->number % 77, i->c & 2 ? UTIME_OMIT : 9}};
        result_of(syscall(SYS_utimensat, i->c & 4 ? fd : AT_FDCWD, i->c & 8 ? NULL : NAME(i->b), times,
                          i->c & 16 ? AT_SYMLINK_NOFOLLOW : 0), 0, 0);
        result = lstat(NAME(i->b), &st);
        result_of(result, 0, result == 0 && st.st_mtim.tv_nsec == 9 ? (uint32_t)st.st_mtim.tv_sec : 0);
        break;
    }
    case 96:
        result = syscall(SYS_getcwd, buffer, i->c & 1 ? sizeof buffer : i->c);
        result_of(result > 0 ? 0 : result, 0, 0); /* where the folder is differs */
        break;
    default:
        run_mapping(i);
    }
}

static void clear(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        char inner[600];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        if (unlink(inner) && (errno == EISDIR || errno == EPERM)) {
            chmod(inner, 0700);
            clear(inner);
            rmdir(inner);
        }
    }
    if (dir)
        closedir(dir);
}

/* Where the programs' working directory is at first. */
static void remember_top(void)
{
    int fd = open(".", O_RDONLY | O_DIRECTORY);
    if (fd < 0 || dup2(fd, TOP_FD) != TOP_FD || close(fd))
        _exit(5);
}

static void enter_folder(void)
{
    static int number;
    char path[600];
    snprintf(path, sizeof path, "%s/%d", folders, number++);
    if (chdir(path))
        _exit(3);
    remember_top();
}

static void end_program(void)
{
    for (int fd = FIRST_FD; fd < FIRST_FD + FDS; fd++)
        close(fd);
    printf("----\n");
    setfsuid(0);
    setfsgid(0);
    if (folders) {
        enter_folder();
        return;
    }
    if (fchdir(TOP_FD))
        _exit(6);
    chmod(".", 0700);
    clear(".");
}

static void step(const struct instruction *i)
{
    if (i->opcode < 8)
        run_reading(i);
    else if (i->opcode < 16)
        run_writing(i);
    else if (i->opcode < 32)
        run_making(i);
    else if (i->opcode < 43)
        run_looking(i);
    else if (i->opcode < 48)
        run_polling(i);
    else if (i->opcode < 64)
        run_naming(i);
    else if (i->opcode == END)
        end_program();
    else if (i->opcode < 72)
        run_moving(i);
    else if (i->opcode < 78)
        run_asking(i);
    else if (i->opcode < 80)
        run_passing(i);
    else
        run_placing(i);
}

int main(int argc, char **argv)
{
    static char place[300];
    static char output[1 << 16];
    struct instruction i;
    edge = mmap(NULL, SPACE + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    edge += SPACE;
    if (mprotect(edge, 4096, PROT_NONE))
        return 1;
    signal(SIGPIPE, SIG_IGN);
    umask(022);
    setvbuf(stdout, output, _IOFBF, sizeof output);
    if (argc != 3)
        return 1;
    folders = strcmp(argv[1], "folders") == 0 ? argv[2] : NULL;
    snprintf(place, sizeof place, "%s/pysc-machine.XXXXXX", argv[2]);
    if (folders)
        enter_folder();
    else if (!mkdtemp(place) || chdir(place))
        return 1;
    else
        remember_top();
    while (fread(&i, sizeof i, 1, stdin) == 1)
        step(&i);
    fflush(stdout);
    if (folders)
        return 0;
    return chdir("/") || rmdir(place) ? 2 : 0;
}
