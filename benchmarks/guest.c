/* The rows of the table of system calls: each is run for long enough, and its mean is printed in microseconds.
 * Usage: guest DIRECTORY [DIVISOR]; a divisor of 50 only shows that everything runs. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BIG = 65536, FAULTS = 8192 };
static char buffer[BIG], file_name[256], absent_name[256];
static char *self;
static int file, own_pipe[2], to_echo[2], from_echo[2];
static int divisor = 1;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void expect(long got, long wanted, const char *what)
{
    if (got != wanted)
        fail(what);
}

static void do_getpid(void) { syscall(SYS_getpid); }
static void do_clock_call(void) { syscall(SYS_clock_gettime, CLOCK_MONOTONIC, buffer); }
static void do_clock_vdso(void) { clock_gettime(CLOCK_MONOTONIC, (struct timespec *)buffer); }
static void do_pread_1(void) { expect(pread(file, buffer, 1, 0), 1, "pread"); }
static void do_pread_4k(void) { expect(pread(file, buffer, 4096, 0), 4096, "pread"); }
static void do_pread_64k(void) { expect(pread(file, buffer, BIG, 0), BIG, "pread"); }
static void do_seek_read_4k(void) { lseek(file, 0, SEEK_SET), expect(read(file, buffer, 4096), 4096, "read"); }
static void do_seek_read_64k(void) { lseek(file, 0, SEEK_SET), expect(read(file, buffer, BIG), BIG, "read"); }
static void do_pwrite_4k(void) { expect(pwrite(file, buffer, 4096, 0), 4096, "pwrite"); }
static void do_pwrite_64k(void) { expect(pwrite(file, buffer, BIG, 0), BIG, "pwrite"); }
static void do_fstat(void) { fstat(file, (struct stat *)buffer); }
static void do_stat(void) { expect(stat(file_name, (struct stat *)buffer), 0, "stat"); }
static void do_open_close(void) { expect(close(open(file_name, O_RDONLY)), 0, "open"); }
static void do_access(void) { expect(access(absent_name, F_OK), -1, "access"); }

static void do_pipe(void)
{
    expect(write(own_pipe[1], buffer, 1), 1, "write");
    expect(read(own_pipe[0], buffer, 1), 1, "read");
}

static void *echo(void *unused)
{
    char byte;
    while (read(to_echo[0], &byte, 1) == 1)
        expect(write(from_echo[1], &byte, 1), 1, "write");
    return unused;
}

static void do_ping_pong(void)
{
    expect(write(to_echo[1], buffer, 1), 1, "write");
    expect(read(from_echo[0], buffer, 1), 1, "read");
}

static void do_map(void)
{
    char *memory = mmap(NULL, BIG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        fail("mmap");
    memory[0] = 1;
    munmap(memory, BIG);
}

static void do_fork(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    expect(waitpid(child, NULL, 0), child, "fork");
}

static void do_fork_exec(void)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        execl(self, self, "exit", NULL);
        _exit(1);
    }
    expect(waitpid(child, &status, 0), child, "fork");
    expect(status, 0, "exec");
}

static void *nothing(void *unused) { return unused; }

static void do_thread(void)
{
    pthread_t thread;
    expect(pthread_create(&thread, NULL, nothing, NULL), 0, "pthread_create");
    pthread_join(thread, NULL);
}

static void print(const char *name, double microseconds)
{
    printf("%s\t%.4f\n", name, microseconds);
    fflush(stdout);
}

static void measure(const char *name, void (*body)(void), int count)
{
    int rounds = count / divisor + 1;
    for (int i = 0; i < rounds / 10 + 1; i++)
        body();
    double start = now();
    for (int i = 0; i < rounds; i++)
        body();
    print(name, (now() - start) / rounds);
}

/* The cost of one lseek after so many microseconds of computing, timed by the TSC: a clock may be a call itself. */
static void measure_after_pause(const char *name, double pause, int count)
{
    int rounds = count / divisor + 1;
    double start = now();
    uint64_t first = __builtin_ia32_rdtsc();
    while (now() - start < 20000)
        ;
    double per_microsecond = (__builtin_ia32_rdtsc() - first) / (now() - start), sum = 0;
    for (int i = 0; i < rounds; i++) {
        uint64_t until = __builtin_ia32_rdtsc() + (uint64_t)(pause * per_microsecond);
        while (__builtin_ia32_rdtsc() < until)
            ;
        uint64_t before = __builtin_ia32_rdtsc();
        lseek(file, 0, SEEK_CUR);
        sum += __builtin_ia32_rdtsc() - before;
    }
    print(name, sum / rounds / per_microsecond);
}

static void measure_faults(void)
{
    size_t size = (size_t)(FAULTS / divisor + 1) * 4096;
    double start = now();
    volatile char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t at = 0; at < size; at += 4096)
        memory[at] = 1;
    print("page fault", (now() - start) / (size / 4096));
    munmap((void *)memory, size);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "exit") == 0)
        return 0;
    if (argc < 2)
        return 2;
    divisor = argc > 2 ? atoi(argv[2]) : 1;
    self = argv[0];
    snprintf(file_name, sizeof file_name, "%s/bench-%d", argv[1], (int)getpid());
    snprintf(absent_name, sizeof absent_name, "%s/absent", argv[1]);
    file = open(file_name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || pipe(own_pipe) || pipe(to_echo) || pipe(from_echo))
        fail(file_name);
    expect(write(file, buffer, BIG), BIG, "write");

    measure("getpid", do_getpid, 20000);
    measure("clock_gettime", do_clock_call, 20000);
    measure("clock_gettime, vDSO", do_clock_vdso, 200000);
    measure("pread 1 B", do_pread_1, 10000);
    measure("pread 4 KiB", do_pread_4k, 10000);
    measure("pread 64 KiB", do_pread_64k, 3000);
    measure("lseek+read 4 KiB", do_seek_read_4k, 10000);
    measure("lseek+read 64 KiB", do_seek_read_64k, 3000);
    measure_after_pause("lseek after 100 us", 100, 1000);
    measure_after_pause("lseek after 1 ms", 1000, 300);
    measure("pwrite 4 KiB", do_pwrite_4k, 5000);
    measure("pwrite 64 KiB", do_pwrite_64k, 3000);
    measure("fstat", do_fstat, 10000);
    measure("stat", do_stat, 5000);
    measure("open+close", do_open_close, 3000);
    measure("access of nothing", do_access, 3000);
    measure("pipe write+read", do_pipe, 10000);
    pthread_t thread;
    expect(pthread_create(&thread, NULL, echo, NULL), 0, "pthread_create");
    measure("pipe ping-pong", do_ping_pong, 3000);
    close(to_echo[1]);
    pthread_join(thread, NULL);
    measure("mmap+touch+munmap", do_map, 3000);
    measure_faults();
    measure("fork+exit+wait", do_fork, 100);
    measure("fork+exec+wait", do_fork_exec, 50);
    measure("thread create+join", do_thread, 300);
    unlink(file_name);
    return 0;
}
