/* open: creation, exclusion, truncation, append, directories, links, O_PATH, O_TMPFILE, names, modes and umask. */
#include "guest.h"
#include <sys/resource.h>
#include <sys/utsname.h>

#ifndef F_CREATED_QUERY
#define F_CREATED_QUERY 1028
#endif

/* Linux has it since 6.12. */
static int tells_who_created(void)
{
    struct utsname name;
    int major, minor;
    CHECK(uname(&name) == 0 && sscanf(name.release, "%d.%d", &major, &minor) == 2);
    return major > 6 || (major == 6 && minor >= 12);
}

static void size(const char *path)
{
    struct stat st;
    CHECK(stat(path, &st) == 0);
    say("%s: mode %o size %ld\n", path, st.st_mode, S_ISDIR(st.st_mode) ? 0 : (long)st.st_size);
}

int main(void)
{
    char buffer[10] = {0}, name[300], path[5000];
    scratch();
    umask(027);
    TRY(open("a", O_RDONLY));
    int a = TRY(open("a", O_RDWR | O_CREAT, 0666));
    size("a");
    TRY(open("a", O_RDWR | O_CREAT | O_EXCL, 0666));
    CHECK(write(a, "0123456789", 10) == 10);
    int b = TRY(open("a", O_WRONLY | O_APPEND));
    int again = open("a", O_RDWR | O_CREAT, 0666), twin = dup(a);
    if (tells_who_created()) {
        CHECK(fcntl(a, F_CREATED_QUERY) == 1 && fcntl(twin, F_CREATED_QUERY) == 1);
        CHECK(fcntl(b, F_CREATED_QUERY) == 0 && fcntl(again, F_CREATED_QUERY) == 0);
    }
    CHECK(close(again) == 0 && close(twin) == 0);
    CHECK(lseek(b, 2, SEEK_SET) == 2 && write(b, "AB", 2) == 2);
    size("a");
    say("offset after an append %ld\n", (long)lseek(b, 0, SEEK_CUR));
    TRY(pwrite(b, "CD", 2, 0)); /* Linux appends here, too: pwrite(2), BUGS */
    size("a");
    TRY(read(b, buffer, 1));
    int c = TRY(open("a", O_RDONLY));
    TRY(write(c, "x", 1));
    TRY(close(open("a", O_WRONLY | O_TRUNC)));
    size("a");
    TRY(read(a, buffer, 10));
    CHECK(write(a, "hole", 4) == 4);
    size("a");
    CHECK(mkdir("d", 0777) == 0);
    size("d");
    struct rlimit files, few;
    CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0);
    few.rlim_max = files.rlim_max, few.rlim_cur = c + 1; /* no number is left */
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    TRY(open("new", O_RDWR | O_CREAT, 0666));
    TRY(open("a", O_WRONLY | O_TRUNC));
    TRY(open("nothing", O_RDONLY));
    TRY(open("", O_RDONLY));
    CHECK(setrlimit(RLIMIT_NOFILE, &files) == 0);
    TRY(access("new", F_OK));
    size("a");
    TRY(open("d", O_WRONLY));
    TRY(open("d", O_RDONLY | O_CREAT, 0600));
    TRY(open("a", O_RDONLY | O_DIRECTORY));
    TRY(open("a/", O_RDONLY));
    TRY(open("a/b", O_RDONLY));
    TRY(open("d/", O_RDONLY | O_CREAT, 0600));
    TRY(open("new/", O_RDONLY | O_CREAT, 0600));
    TRY(open("no/file", O_RDONLY | O_CREAT, 0600));
    TRY(open("", O_RDONLY));
    CHECK(symlink("a", "l") == 0 && symlink("self", "self") == 0 && symlink("missing", "dangling") == 0);
    TRY(open("l", O_RDONLY | O_NOFOLLOW));
    TRY(open("self", O_RDONLY));
    TRY(open("dangling", O_RDONLY | O_CREAT | O_EXCL, 0600));
    TRY(close(open("dangling", O_WRONLY | O_CREAT, 0600)));
    size("missing");
    memset(name, 'n', sizeof name);
    name[255] = 0;
    TRY(close(open(name, O_WRONLY | O_CREAT, 0600)));
    name[255] = 'n', name[256] = 0;
    TRY(open(name, O_WRONLY | O_CREAT, 0600));
    for (int i = 0; i < 4999; i++)
        path[i] = i & 1 ? '/' : '.';
    path[4999] = 0;
    TRY(open(path, O_RDONLY));
    path[4095] = 0;
    TRY(open(path, O_RDONLY | O_DIRECTORY) >= 0 ? 0 : -1);
    int p = open("a", O_PATH);
    struct stat st;
    TRY(read(p, buffer, 1));
    TRY(fchmod(p, 0600));
    TRY(fstat(p, &st));
    TRY(fcntl(p, F_GETFL) == O_PATH);
    snprintf(path, sizeof path, "/proc/self/fd/%d", p);
    TRY(close(open(path, O_RDONLY)));
    int t = open(".", O_TMPFILE | O_RDWR, 0600);
    CHECK(t >= 0 && fstat(t, &st) == 0 && st.st_nlink == 0 && write(t, "x", 1) == 1);
    TRY(openat(99, "a", O_RDONLY));
    TRY(openat(a, "b", O_RDONLY));
    TRY(openat(open("d", O_RDONLY), "../a", O_RDONLY) >= 0 ? 0 : -1);
    TRY(fcntl(a, F_SETFL, O_APPEND | O_NONBLOCK));
    TRY(fcntl(a, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
    TRY(open("a", 3) >= 0 ? 0 : -1);
    TRY(creat("a", 0) >= 0 ? 0 : -1);
    TRY(open(BAD, O_RDONLY));
    return done();
}
