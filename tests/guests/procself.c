/* /proc of oneself: maps, status, stat, fd, exe, cmdline, comm, cwd, environ, task, limits, mounts. */
#include "guest.h"
#include <dirent.h>
#include <sys/prctl.h>
#include <sys/sysmacros.h>

static char text[262144];

static const char *slurp(const char *path)
{
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0);
    ssize_t total = 0, got;
    while ((got = read(fd, text + total, sizeof text - 1 - total)) > 0)
        total += got;
    CHECK(got == 0 && total > 0);
    text[total] = 0;
    close(fd);
    return text;
}

static int contains(const char *path, const char *format, ...)
{
    char wanted[200];
    va_list list;
    va_start(list, format);
    vsnprintf(wanted, sizeof wanted, format, list);
    va_end(list);
    return strstr(slurp(path), wanted) != NULL;
}

/* Maps say where a file is as fstat does, if its file system has one device. */
static int device_shows(void)
{
    struct stat st;
    int fd = shm_open("/pysc-procself", O_RDWR | O_CREAT, 0600);
    CHECK(fd >= 0 && shm_unlink("/pysc-procself") == 0 && ftruncate(fd, 4096) == 0 && fstat(fd, &st) == 0);
    char *mapping = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    return contains("/proc/self/maps", "%lx-%lx r--s 00000000 %02x:%02x %lu ", (long)mapping, (long)mapping + 4096,
                    major(st.st_dev), minor(st.st_dev), (unsigned long)st.st_ino);
}

static void *idle(void *argument UNUSED)
{
    pause();
    return NULL;
}

/* What pthread_getattr_np(3) makes of maps: how far down the first thread's stack may go. */
static void stack_bounds(void)
{
    pthread_attr_t attributes;
    char *bottom, *here = __builtin_frame_address(0);
    size_t size;
    CHECK(pthread_getattr_np(pthread_self(), &attributes) == 0);
    CHECK(pthread_attr_getstack(&attributes, (void **)&bottom, &size) == 0);
    CHECK(bottom + size > here && bottom + 4 * 1024 * 1024 < here);
}

int main(int argc, char **argv)
{
    char link[PATH_MAX] = {0}, real[PATH_MAX] = {0};
    int local;
    if (argc == 1) {
        char *args[] = {"one", "two words", "", NULL}, *env[] = {"NAME=value", "EMPTY=", NULL};
        CHECK(readlink("/proc/self/exe", link, sizeof link - 1) > 0);
        execve(link, args, env);
        CHECK(!"exec");
    }
    slurp("/proc/self/cmdline");
    say("cmdline %d\n", memcmp(text, "one\0two words\0\0", 15) == 0 && strcmp(argv[0], "one") == 0);
    argv[1][-1] = '-', *argv[2] = '!';
    say("a title: %s", slurp("/proc/self/cmdline"));
    argv[2][-1] = '+';
    say(", a longer one: %s\n", slurp("/proc/self/cmdline"));
    argv[1][-1] = argv[2][-1] = *argv[2] = 0;
    slurp("/proc/self/environ");
    say("environ %d\n", memcmp(text, "NAME=value\0EMPTY=", 18) == 0);
    CHECK(prctl(PR_SET_NAME, "my (odd) name") == 0);
    say("comm %s", slurp("/proc/self/comm"));
    int comm = open("/proc/self/comm", O_WRONLY);
    CHECK(comm >= 0 && write(comm, "a\\\nPid:\t1\n", 10) == 10);
    say("with a line's end %s", slurp("/proc/self/comm"));
    say("is one line %d\n", contains("/proc/self/status", "Name:\ta\\\\\\nPid:\t1\\n\nUmask:"));
    CHECK(write(comm, "longer than any name\n", 21) == 21 && write(comm, "", 1) == 1 && close(comm) == 0);
    say("none: %s", slurp("/proc/self/comm"));
    CHECK(prctl(PR_SET_NAME, "my (odd) name") == 0);
    int pid, ppid;
    char state;
    CHECK(sscanf(slurp("/proc/self/stat"), "%d (my (odd) name) %c %d", &pid, &state, &ppid) == 3);
    say("stat %d state %c\n", pid == getpid() && ppid == getppid(), state);
    say("status %d %d %d %d\n", contains("/proc/self/status", "Name:\tmy (odd) name\n"), contains("/proc/self/status", "Pid:\t%d\n", getpid()),
        contains("/proc/self/status", "PPid:\t%d\n", getppid()), contains("/proc/self/status", "Threads:\t1\n"));
    scratch();
    CHECK(readlink("/proc/self/cwd", link, sizeof link - 1) > 0 && getcwd(real, sizeof real) && strcmp(link, real) == 0);
    int fd = open("name", O_RDWR | O_CREAT, 0600);
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    memset(link, 0, sizeof link);
    CHECK(readlink(path, link, sizeof link - 1) > 0);
    strcat(real, "/name");
    say("fd link %d\n", strcmp(link, real) == 0);
    CHECK(write(open(path, O_WRONLY), "through", 7) == 7 && pread(fd, link, 7, 0) == 7 && memcmp(link, "through", 7) == 0);
    int ends[2], seen = 0;
    CHECK(pipe(ends) == 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
    memset(link, 0, sizeof link);
    CHECK(readlink(path, link, sizeof link - 1) > 0);
    say("pipe link %d\n", strncmp(link, "pipe:[", 6) == 0);
    DIR *dir = opendir("/proc/self/fd");
    for (struct dirent *entry; (entry = readdir(dir));)
        seen += atoi(entry->d_name) == fd || atoi(entry->d_name) == ends[1];
    say("fd listed %d\n", seen);
    char *mapping = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mprotect(mapping, 4096, PROT_READ) == 0);
    stack_bounds();
    say("maps %d", contains("/proc/self/maps", "%lx-%lx r--p 00000000 00:00 0", (long)mapping, (long)mapping + 4096));
    CHECK(ftruncate(fd, 4096) == 0);
    mapping = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    say(" %d", contains("/proc/self/maps", "%lx-%lx r--s 00000000", (long)mapping, (long)mapping + 4096) && strstr(text, real));
    say(" %d", device_shows());
    slurp("/proc/self/maps");
    say(" stack %d, sorted", strstr(text, "[stack]") != NULL);
    unsigned long last = 0, total = 0, from, to;
    int local_seen = 0;
    for (char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        CHECK(sscanf(line, "%lx-%lx", &from, &to) == 2 && (from >= last || from > 1ul << 63) && to > from);
        last = to;
        local_seen |= (uintptr_t)&local >= from && (uintptr_t)&local < to;
        total += from > 1ul << 63 ? 0 : to - from;
    }
    say(" %d, no more than there is %d\n", local_seen, total < 100ul << 20);
    say("size of it all %d\n", contains("/proc/self/status", "VmSize:\t%8lu kB\n", total >> 10));
    pthread_attr_t attributes;
    void *stack;
    size_t size;
    CHECK(pthread_getattr_np(pthread_self(), &attributes) == 0 && pthread_attr_getstack(&attributes, &stack, &size) == 0);
    say("the stack is as large as it may be %d\n", size > 1 << 20); /* glibc looks where the mapping below it ends */
    pthread_t thread;
    pthread_create(&thread, NULL, idle, NULL);
    int tasks = 0;
    dir = opendir("/proc/self/task");
    for (struct dirent *entry; (entry = readdir(dir));)
        tasks += entry->d_name[0] != '.';
    say("tasks %d %d\n", tasks, contains("/proc/self/status", "Threads:\t2\n"));
    say("limits %d mounts %d\n", contains("/proc/self/limits", "Max open files"), contains("/proc/self/mounts", "/proc proc"));
    say("meminfo %d uptime %d loadavg %d cpuinfo %d stat %d version %d\n", contains("/proc/meminfo", "MemTotal:"),
        atof(slurp("/proc/uptime")) > 0, strchr(slurp("/proc/loadavg"), '/') != NULL, contains("/proc/cpuinfo", "processor"),
        contains("/proc/stat", "btime"), contains("/proc/version", "Linux version"));
    TRY(open("/proc/self/nothing", O_RDONLY));
    TRY(open("/proc/99999999", O_RDONLY));
    TRY(mkdir("/proc/x", 0700));
    TRY(readlink("/proc/self", link, sizeof link) > 0);
    return done();
}
