/* Files that are mapped, closed and named by /proc/PID/maps; what a noexec mount forbids. */
#include "guest.h"
#include <dirent.h>
#include <sys/mount.h>

#define LIBRARIES "/usr/lib/x86_64-linux-gnu"
#define MOST 40

static char names[MOST][PATH_MAX];
static char *places[MOST];
static int count;

/* Libraries that begin with their own text, and are no links. */
static void choose(void)
{
    DIR *directory = opendir(LIBRARIES);
    struct dirent *entry;
    CHECK(directory);
    while (count < MOST && (entry = readdir(directory))) {
        if (entry->d_type == DT_REG && strstr(entry->d_name, ".so."))
            snprintf(names[count++], PATH_MAX, "%s/%.200s", LIBRARIES, entry->d_name);
    }
    closedir(directory);
}

static char maps[1 << 18];

static int named(void)
{
    long n, used = 0;
    int file = open("/proc/self/maps", O_RDONLY), found = 0;
    while ((n = read(file, maps + used, sizeof maps - 1 - (size_t)used)) > 0)
        used += n;
    CHECK(n == 0 && close(file) == 0);
    maps[used] = 0;
    for (int i = 0; i < count; i++) {
        char line[64], *at;
        snprintf(line, sizeof line, "%08lx-", (unsigned long)places[i]);
        at = strstr(maps, line);
        found += at && strstr(at, names[i]) && strstr(at, names[i]) < strchr(at, '\n');
    }
    return found;
}

static void try_to_execute(const char *name)
{
    int file = open(name, O_RDONLY);
    TRY(access(name, X_OK));
    TRY(faccessat(AT_FDCWD, name, R_OK | X_OK, 0));
    for (int i = 0; i < 3; i++) {
        char *place = mmap(NULL, 4096, PROT_READ | (i == 1 ? 0 : PROT_EXEC), MAP_PRIVATE, file, 0);
        TRY(place == MAP_FAILED ? -1 : munmap(place, 4096));
    }
    close(file);
}

int main(void)
{
    choose();
    CHECK(count == MOST);
    for (int i = 0; i < count; i++) {
        struct stat before, after;
        int file = open(names[i], O_RDONLY | O_CLOEXEC);
        places[i] = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0);
        CHECK(places[i] != MAP_FAILED && memcmp(places[i], "\177ELF", 4) == 0);
        CHECK(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0) != MAP_FAILED);
        char *own = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
        CHECK(own != MAP_FAILED && (own[0] = 'x') && places[i][0] == '\177');
        CHECK(fstat(file, &before) == 0 && close(file) == 0 && stat(names[i], &after) == 0 && before.st_ino == after.st_ino);
        if (i == 5)
            say("six are named: %d\n", named());
        if (i == 10)
            CHECK(reap(CHILD(say("in a child: %d\n", named()))) == 0);
    }
    say("all are named: %d\n", named());
    CHECK(reap(CHILD(say("in a child: %d\n", named()))) == 0);
    CHECK(munmap(places[0], 4096) == 0);
    say("one less: %d\n", named());

    if (geteuid() == 0) {
        CHECK(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
        scratch();
        CHECK(mkdir("here", 0755) == 0 && mount("/usr/bin", "here", NULL, MS_BIND, NULL) == 0);
        try_to_execute("here/env");
        TRY(mount(NULL, "here", NULL, MS_BIND | MS_REMOUNT | MS_NOEXEC, NULL));
        try_to_execute("here/env");
        try_to_execute("/usr/bin/env");
        TRY(mount(NULL, "here", NULL, MS_BIND | MS_REMOUNT, NULL));
        try_to_execute("here/env");
        CHECK(umount2("here", 0) == 0);
    }
    return done();
}
