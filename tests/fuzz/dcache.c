/* The dentry cache and walks over it, beside the host's own walks in the same tree. */

#include "check.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "fast.h"
#include "invariants.h"

#define ADDRESS 0x10000000ULL
#define STRANGER 1000
#define DIRECTORIES 12

static char text[3 * PATH_MAX];

/* What walk.c asks the rest of the dispatcher for. */
static struct pysc_file *open_file;
static uint32_t room; /* bytes at the end of the slot that are the path's */

struct pysc_file *
file_at_fd(const struct call *call, uint64_t fd)
{
    (void)call;
    return fd == 5 ? open_file : NULL;
}

const uint8_t *
hint_at(const struct call *call, uint64_t address, uint64_t size)
{
    (void)size;
    return address == ADDRESS ? call->thread->slot->data + PYSC_DATA_SIZE - room : NULL;
}

static struct pysc_objects *objects;
static struct thread thread;
static struct call call = {.thread = &thread};
static struct pysc_context *context;
static uint32_t cache;

static const char *const words[] = {"a", "b", "c", "d", "e", "f", "g", "h", "\xff\xfe", ".", "..", "...", ""};

static const char *
word(void)
{
    return words[next() % (sizeof words / sizeof *words - 4)];
}

/* A path of random names, sometimes a long one. */
static size_t
compose(char *path, size_t size)
{
    size_t at = 0, names = next() % 64 ? next() % 5 : next() % 2000;

    path[0] = 0;
    if (next() % 4 == 0)
        path[at++] = '/';
    for (size_t i = 0; i < names && at + 300 < size; i++) {
        const char *name = next() % 4 ? word() : words[next() % (sizeof words / sizeof *words)];

        if (next() % 200 == 0) {
            size_t length = 254 + next() % 4;

            memset(path + at, 'n', length);
            at += length;
        } else {
            at += (size_t)sprintf(path + at, "%s", name);
        }
        for (uint64_t slashes = i + 1 < names || next() % 4 == 0 ? 1 + (next() % 16 == 0) : 0; slashes; slashes--)
            path[at++] = '/';
    }
    path[at] = 0;
    return at;
}

/* Files, directories and links, with random owners and modes. */
static void
plant(void)
{
    static char path[2 * PATH_MAX], target[2 * PATH_MAX];

    for (int i = 0; i < 6000; i++) {
        int file;

        compose(path, 400);
        switch (next() % 8) {
        case 0:
        case 1:
        case 2:
            mkdir(path, 0755);
            break;
        case 3:
            file = open(path, O_CREAT | O_WRONLY | O_NOFOLLOW | O_NONBLOCK, 0644);
            if (file >= 0)
                close(file);
            break;
        case 4:
            compose(target, 400);
            if (link(target, path)) /* has more names: not for the cache */
                mkfifo(path, 0600);
            break;
        default:
            compose(target, next() % 50 ? 400 : PATH_MAX - 1);
            if (symlink(target, path) && next() % 2)
                unlink(path);
        }
        if (next() % 16 == 0 && lchown(path, next() % 2 ? STRANGER : 0, next() % 2 ? STRANGER : 0) == 0)
            fchmodat(AT_FDCWD, path, (mode_t)(next() % 01000), 0);
    }
}

static struct found
look(const char *path, uint64_t dirfd, uint32_t flags)
{
    size_t size = strlen(path) + 1;

    room = (uint32_t)(size < 4096 ? size : 4096); /* beyond is out of bounds */
    memcpy(thread.slot->data + PYSC_DATA_SIZE - room, path, room);
    return walk_path(&call, dirfd, ADDRESS, flags, &thread.access);
}

/* What the host says: an inode number, or -errno. */
static int64_t
look_natively(const char *path, int dirfd, uint32_t flags)
{
    struct stat status;
    int file, error;

    setfsgid(thread.access.fsgid);
    setfsuid(thread.access.fsuid);
    file = openat(dirfd, path,
                  O_PATH | (flags & WALK_FOLLOW ? 0 : O_NOFOLLOW) | (flags & WALK_DIRECTORY ? O_DIRECTORY : 0));
    error = errno;
    setfsuid(0);
    setfsgid(0);
    if (file < 0)
        return -error;
    CHECK(fstat(file, &status) == 0);
    close(file);
    return (int64_t)status.st_ino;
}

static int places_found, failures_found;

static void
compare(int dirfd)
{
    uint32_t flags = (uint32_t)(next() % 4);
    struct found found;
    int64_t native;

    compose(text, next() % 100 ? 600 : sizeof text);
    thread.access = (struct pysc_access){0};
    if (next() % 2)
        thread.access.fsuid = thread.access.fsgid = STRANGER;
    else
        thread.access.override = thread.access.read_search = 1;
    found = look(text, dirfd < 0 ? (uint64_t)(uint32_t)AT_FDCWD : 5, flags);
    if (found.dentry == NOT_OURS)
        return;
    native = look_natively(text, dirfd < 0 ? AT_FDCWD : dirfd, flags);
    if (found.dentry < 0) {
        CHECK(found.dentry == native);
        failures_found++;
        return;
    }
    places_found++;
    CHECK(found.mount == 7);
    CHECK(objects->dentries[found.dentry].kind == DENTRY_PLAIN && !objects->dentries[found.dentry].withdrawn);
    CHECK((int64_t)objects->dentries[found.dentry].attributes.ino == native);
}

/* Every dentry is in its bucket once, and counted by its parent; nothing is used any more but what `uses` says. */
static void
audit(uint64_t uses)
{
    static uint32_t children[MAX_DENTRIES];
    uint32_t in_buckets = 0, tops = 0;
    uint64_t used = 0;

    memset(children, 0, sizeof children);
    for (uint32_t i = 0; i < DENTRY_BUCKETS; i++) {
        for (uint32_t number = objects->buckets[i]; number; number = objects->dentries[number - 1].next) {
            struct pysc_dentry *dentry = &objects->dentries[number - 1];

            CHECK(dentry->header.generation & 1 && dentry->header.index == number - 1);
            CHECK(strlen(dentry->name) == dentry->length);
            children[dentry->parent]++;
            CHECK(++in_buckets <= MAX_DENTRIES);
        }
    }
    for (uint32_t i = 0; i < objects->pools[PYSC_OBJECT_DENTRY].n; i++) {
        if (!(objects->dentries[i].header.generation & 1))
            continue;
        CHECK(objects->dentries[i].children == children[i]);
        used += objects->dentries[i].users;
        tops += objects->dentries[i].parent == i;
    }
    CHECK(in_buckets + tops == pysc_object_count(objects, PYSC_OBJECT_DENTRY));
    CHECK(used == uses);
}

/* Enter all names of a path, as Python does: the last one, in use. */
static int64_t
enter(const char *path)
{
    int64_t here = pysc_dcache_top(objects, cache), below;

    while (*path) {
        size_t length = strcspn(path, "/");

        below = pysc_dentry_enter(objects, (uint32_t)here, path, length);
        pysc_dentry_leave(objects, (uint32_t)here);
        if (below < 0)
            return below;
        here = below;
        path += length + (path[length] == '/');
    }
    pysc_dentry_ask(objects, (uint32_t)here);
    return here;
}

/* Random directories of the tree, which the working directory may be; "" is the top. */
static char places[DIRECTORIES][64];
static int descriptors[DIRECTORIES];

static void
find_places(void)
{
    struct stat status;

    for (int i = 0; i < DIRECTORIES; i++) {
        char path[64] = "";

        for (uint64_t depth = i ? 1 + next() % 4 : 0; depth; depth--) {
            char longer[80];

            snprintf(longer, sizeof longer, "%s%s%s", path, *path ? "/" : "", word());
            if (lstat(longer, &status) == 0 && S_ISDIR(status.st_mode))
                snprintf(path, sizeof path, "%.60s", longer);
        }
        memcpy(places[i], path, sizeof path);
        descriptors[i] = open(*path ? path : ".", O_PATH | O_DIRECTORY);
        CHECK(descriptors[i] >= 0);
    }
}

static void
go_somewhere(void)
{
    uint64_t here = next() % DIRECTORIES;

    CHECK(fchdir(descriptors[here]) == 0);
    pysc_context_set(objects, context, enter(""), 7, enter(places[here]), 7);
}

static void
use_descriptor(uint64_t which)
{
    if (open_file)
        pysc_object_free(objects, PYSC_OBJECT_FILE, open_file->header.index);
    open_file = pysc_file_at(objects, (uint32_t)pysc_object_new(objects, PYSC_OBJECT_FILE));
    open_file->dentry = (uint32_t)enter(places[which]) + 1;
    open_file->mount = 7;
}

static void
agree(int rounds, uint64_t uses)
{
    uint64_t which = 0;

    for (int round = 0; round < rounds; round++) {
        if (round % 64 == 0)
            go_somewhere();
        if (round % 100 == 0)
            use_descriptor(which = next() % DIRECTORIES);
        compare(next() % 4 ? -1 : descriptors[which]);
    }
    audit(uses);
}

/* Withdraw and give back at random: what is still answered is right. */
static void
withdraw(int rounds)
{
    static int64_t kept[64];

    for (int i = 0; i < 64; i++)
        kept[i] = -1;
    for (int round = 0; round < rounds; round++) {
        uint64_t i = next() % 64;
        uint32_t reason = next() % 8 ? PYSC_WITHDRAWN_NAME : PYSC_WITHDRAWN_INODE;
        struct stat status;
        char path[160];

        if (kept[i] < 0) {
            snprintf(path, sizeof path, "%s%s%s", places[next() % DIRECTORIES], "/", word());
            kept[i] = enter(*path == '/' ? path + 1 : path);
            CHECK(kept[i] >= 0 && pysc_dentry_withdraw(objects, (uint32_t)kept[i], reason) > 0);
        } else {
            pysc_dentry_return(objects, (uint32_t)kept[i], PYSC_WITHDRAWN_NAME);
            pysc_dentry_leave(objects, (uint32_t)kept[i]);
            kept[i] = -1;
        }
        if (round % 32 == 0) { /* a directory gets an upper side, with the same permissions */
            const char *place = places[next() % DIRECTORIES];
            int64_t merged = enter(place);

            if (fstatat(descriptors[0], *place ? place : ".", &status, 0) == 0)
                pysc_dentry_merge(objects, (uint32_t)merged, status.st_mode, status.st_uid, status.st_gid);
            pysc_dentry_leave(objects, (uint32_t)merged);
        }
        if (round % 64 == 0)
            go_somewhere();
        for (int looks = 0; looks < 8; looks++)
            compare(-1);
    }
    for (int i = 0; i < 64; i++) {
        if (kept[i] >= 0)
            pysc_dentry_leave(objects, (uint32_t)kept[i]);
    }
    audit(3);
}

static volatile int stop;

static void *
disturb(void *slot)
{
    volatile uint8_t *data = ((struct pysc_slot *)slot)->data;
    uint64_t noise = 1;

    while (!stop) {
        noise = noise * 6364136223846793005u + 1;
        data[PYSC_DATA_SIZE - 1 - (noise >> 33) % 4096] = (uint8_t)("ab/.."[noise >> 61 & 3] & -(int)(noise >> 60 & 1));
    }
    return NULL;
}

/* The guest changes the path while it is looked at. */
static void
change_meanwhile(void)
{
    pthread_t other;

    CHECK(pthread_create(&other, NULL, disturb, thread.slot) == 0);
    for (int i = 0; i < 30000; i++) {
        struct found found;

        compose(text, i % 8 ? 600 : sizeof text);
        found = look(text, (uint64_t)(uint32_t)AT_FDCWD, (uint32_t)(next() % 4));
        CHECK(found.dentry < 0 || (uint64_t)found.dentry < objects->pools[PYSC_OBJECT_DENTRY].n);
    }
    stop = 1;
    pthread_join(other, NULL);
    audit(3);
}

/* More names than there is room for: old ones are given up, those in use are not, and what is known stays right. */
static void
crowd(void)
{
    int64_t pinned = enter("a/b/c/d");
    struct timespec start, end;

    thread.access = (struct pysc_access){.override = 1};
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < 400000; i++) {
        char path[32];
        struct found found;

        snprintf(path, sizeof path, "/absent%d", i);
        found = look(path, (uint64_t)(uint32_t)AT_FDCWD, 0);
        CHECK(found.dentry == -ENOENT);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    CHECK(end.tv_sec - start.tv_sec < 40);
    CHECK(pysc_object_count(objects, PYSC_OBJECT_DENTRY) <= 2 * MANY_DENTRIES);
    CHECK(objects->dentries[pinned].users == 1);
    audit(4);
    agree(20000, 4);
    pysc_dentry_leave(objects, (uint32_t)pinned);
    audit(3);
}

/* All are in use: nothing is answered any more, and nothing breaks. */
static void
exhaust(void)
{
    static int64_t held[MAX_DENTRIES + 1];
    int64_t top = enter("");
    uint32_t n = 0;

    for (; n <= MAX_DENTRIES; n++) {
        char name[16];

        held[n] = pysc_dentry_enter(objects, (uint32_t)top, name, (uint64_t)snprintf(name, sizeof name, "z%u", n));
        if (held[n] < 0)
            break;
    }
    CHECK(n > MAX_DENTRIES / 2 && n <= MAX_DENTRIES && held[n] == -ENOMEM);
    strcpy(text, "/a");
    CHECK(look(text, (uint64_t)(uint32_t)AT_FDCWD, 0).dentry == NOT_OURS);
    while (n--)
        pysc_dentry_leave(objects, (uint32_t)held[n]);
    pysc_dentry_leave(objects, (uint32_t)top);
    audit(3);
}

/* While the tree is slow nothing is asked of it, and what is known is answered. */
static void
slow_down(void)
{
    struct pysc_super *super = pysc_super_at(objects, objects->dcaches[cache].super - 1);
    int64_t known;

    thread.access = (struct pysc_access){.override = 1, .read_search = 1};
    CHECK(mkdir("/known", 0755) == 0 && mkdir("/news", 0755) == 0 && symlink("known", "/link") == 0);
    strcpy(text, "/known");
    known = look(text, (uint64_t)(uint32_t)AT_FDCWD, 0).dentry;
    strcpy(text, "/link");
    CHECK(known >= 0 && look(text, (uint64_t)(uint32_t)AT_FDCWD, 0).dentry >= 0);
    for (int round = 0; round < 2; round++) {
        super->remote = round == 0;
        super->slow_until[PYSC_SUPER_NAMES] = INT64_MAX;
        strcpy(text, "/known");
        CHECK(look(text, (uint64_t)(uint32_t)AT_FDCWD, 0).dentry == known);
        strcpy(text, "/news");
        CHECK(look(text, (uint64_t)(uint32_t)AT_FDCWD, 0).dentry == NOT_OURS);
        strcpy(text, "/link");
        CHECK(look(text, (uint64_t)(uint32_t)AT_FDCWD, WALK_FOLLOW).dentry == NOT_OURS);
    }
    super->slow_until[PYSC_SUPER_NAMES] = 1; /* long ago */
    super->slow_until[PYSC_SUPER_DATA] = INT64_MAX;
    strcpy(text, "/link");
    CHECK(look(text, (uint64_t)(uint32_t)AT_FDCWD, WALK_FOLLOW).dentry == known);
    strcpy(text, "/news");
    CHECK(look(text, (uint64_t)(uint32_t)AT_FDCWD, 0).dentry >= 0);
    CHECK(rmdir("/known") == 0 && rmdir("/news") == 0 && unlink("/link") == 0);
}

int
main(int argc, char **argv)
{
    int tree, outside = open("/", O_PATH | O_DIRECTORY);

    if (argc != 2 || outside < 0 || chdir(argv[1]) || chroot(".") || (tree = open("/", O_PATH | O_DIRECTORY)) < 0)
        return 77;
    looking_at = text;
    umask(0);
    plant();
    find_places();
    thread.slot = calloc(1, sizeof *thread.slot);
    objects = pysc_objects_new();
    call.objects = objects;
    CHECK(pysc_names_key(objects, 0x1234567890abcdefULL) == 0);
    cache = (uint32_t)pysc_dcache_new(objects, tree, 1 + (uint32_t)pysc_object_new(objects, PYSC_OBJECT_SUPER), 1, 1);
    context = pysc_context_at(objects, (uint32_t)pysc_object_new(objects, PYSC_OBJECT_CONTEXT));
    thread.context = (struct reference){context->header.index + 1, context->header.generation};
    agree(120000, 3);
    CHECK(places_found > 5000 && failures_found > 20000);
    check_invariants(objects);
    slow_down();
    change_meanwhile();
    withdraw(6000);
    check_invariants(objects);
    crowd();
    check_invariants(objects);
    CHECK(pysc_names_key(objects, 1) == -EBUSY);
    exhaust();
    CHECK(fchdir(outside) == 0 && chroot(".") == 0); /* the leak checker needs /proc */
    free(thread.slot);
    pysc_objects_free(objects);
    puts("done");
    return 0;
}
