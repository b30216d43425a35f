/* Shared memory of System V: keys, permissions, where it is attached, who has it, and what is left when parts go. */
#include "guest.h"
#include <grp.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#define PAGE 4096L
#define SIZE (5 * PAGE)
#define FAILED ((void *)-1)

static struct shmid_ds status_of(int id)
{
    struct shmid_ds status;
    CHECK(shmctl(id, IPC_STAT, &status) == 0);
    return status;
}

static void attached(const char *what, int id) { say("%s: attached %ld times\n", what, (long)status_of(id).shm_nattch); }

static int make(size_t size)
{
    int id = shmget(IPC_PRIVATE, size, IPC_CREAT | 0600);
    CHECK(id >= 0);
    return id;
}

static char *at(int id)
{
    char *place = shmat(id, NULL, 0);
    CHECK(place != FAILED);
    return place;
}

/* A place where nothing is. */
static char *room(size_t size)
{
    char *place = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(place != MAP_FAILED && munmap(place, size) == 0);
    return place;
}

static void keys(void)
{
    key_t key = 0x70797363 + getpid();
    int id = shmget(key, 100, IPC_CREAT | IPC_EXCL | 0640);
    CHECK(id >= 0);
    TRY(shmget(key, 100, IPC_CREAT | IPC_EXCL | 0640));
    TRY(shmget(key, 101, 0));
    TRY(shmget(key, 0, 0) == id);
    TRY(shmget(key + 1, 100, 0600));
    TRY(shmget(IPC_PRIVATE, 0, 0600));
    TRY(shmget(IPC_PRIVATE, -1L, 0600));
    struct shmid_ds status = status_of(id);
    say("mode %o size %ld, ours %d, last nobody's %d, never used %d, key %d\n", status.shm_perm.mode, (long)status.shm_segsz,
        status.shm_cpid == getpid(), status.shm_lpid == 0, !status.shm_atime && !status.shm_dtime, status.shm_perm.__key == key);
    CHECK(status.shm_ctime > 1600000000 && status.shm_perm.cuid == geteuid() && status.shm_perm.gid == getegid());
    status.shm_perm.mode = 0777;
    TRY(shmctl(id, IPC_SET, &status));
    status.shm_perm.uid = -1;
    TRY(shmctl(id, IPC_SET, &status));
    TRY(shmctl(id, IPC_SET, BAD));
    TRY(shmctl(id, IPC_STAT, BAD));
    TRY(shmctl(id, 99, &status));
    TRY(shmctl(-1, IPC_STAT, &status));
    say("mode %o\n", status_of(id).shm_perm.mode);
    TRY(shmctl(id, SHM_LOCK, NULL));
    say("mode %o\n", status_of(id).shm_perm.mode);
    TRY(shmctl(id, SHM_UNLOCK, NULL));
    struct shminfo limits;
    struct shm_info used;
    CHECK(shmctl(0, IPC_INFO, (void *)&limits) >= 0 && limits.shmmin == 1 && limits.shmmni > 0 && limits.shmmax > 1 << 20);
    int highest = shmctl(0, SHM_INFO, (void *)&used), found = 0;
    CHECK(used.used_ids > 0 && used.shm_tot > 0);
    for (int i = 0; i <= highest; i++)
        found += shmctl(i, SHM_STAT, &status) == id;
    say("found %d\n", found);
    TRY(shmctl(id, IPC_RMID, NULL));
    TRY(shmctl(id, IPC_RMID, NULL) == -1 && (errno == EINVAL || errno == EIDRM));
    TRY(shmget(key, 0, 0));
    int again = make(100);
    say("another id: %d\n", again != id);
    TRY(shmctl(again, IPC_RMID, NULL));
}

static void shared(void)
{
    int id = make(SIZE);
    char *memory = at(id);
    say("zeros %d\n", memory[0] == 0 && memory[SIZE - 1] == 0);
    pid_t child = CHILD(attached("in a child", id); strcpy(memory + PAGE, "by the child"); char *other = at(id);
                        say("the same %d\n", !strcmp(other + PAGE, "by the child")); attached("in the child once more", id));
    CHECK(reap(child) == 0);
    say("%s\n", memory + PAGE);
    attached("after its end", id);
    say("by whom %d, it was the child %d\n", status_of(id).shm_cpid == getpid(), status_of(id).shm_lpid == child);
    int go[2];
    char byte;
    CHECK(pipe(go) == 0);
    child = CHILD(write(go[1], "x", 1); pause());
    CHECK(read(go[0], &byte, 1) == 1);
    attached("with a child", id);
    kill(child, SIGKILL);
    reap(child);
    attached("killed", id);
    child = CHILD(dup2(go[1], 1); execl("/proc/self/exe", "sysvshm", "x", NULL));
    CHECK(read(go[0], &byte, 1) == 1);
    attached("while it runs another program", id);
    kill(child, SIGKILL);
    reap(child);
    child = vfork();
    if (child == 0)
        _exit(0);
    reap(child);
    attached("after a vfork", id);
    TRY(shmctl(id, IPC_RMID, NULL));
    struct shmid_ds status = status_of(id);
    say("doomed: mode %o key %d\n", status.shm_perm.mode, status.shm_perm.__key);
    char *second = at(id); /* Linux lets it be attached as long as it is there */
    say("still %s\n", second + PAGE);
    TRY(shmdt(memory));
    TRY(shmdt(memory));
    TRY(shmdt(second + PAGE));
    TRY(shmdt(second + 1));
    TRY(shmdt(second));
    TRY(shmctl(id, IPC_STAT, &status) == -1 && (errno == EINVAL || errno == EIDRM));
    TRY(shmat(id, NULL, 0) == FAILED && (errno == EINVAL || errno == EIDRM));
}

static void places(void)
{
    int id = make(SIZE);
    char *place = room(SIZE + PAGE);
    TRY(shmat(id, place + 100, 0) == FAILED ? -1 : 0);
    char *memory = shmat(id, place + 100, SHM_RND);
    say("rounded %d\n", memory == place);
    TRY(shmat(id, place + PAGE, 0) == FAILED ? -1 : 0);
    TRY(shmat(id, NULL, SHM_REMAP) == FAILED ? -1 : 0);
    TRY(shmat(id, (void *)(1L << 47), 0) == FAILED ? -1 : 0);
    TRY(shmat(id, (void *)-PAGE, 0) == FAILED ? -1 : 0);
    TRY(shmat(-1, NULL, 0) == FAILED ? -1 : 0);
    memory[0] = 'm';
    char *over = shmat(id, place + PAGE, SHM_REMAP);
    say("over itself %d %c\n", over == place + PAGE, over[0]);
    attached("what is left", id);
    TRY(shmdt(over));
    TRY(shmdt(place));
    char *plain = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    plain[0] = 'p';
    TRY(shmat(id, plain, 0) == FAILED ? -1 : 0);
    over = shmat(id, plain, SHM_REMAP);
    say("over anonymous memory %d %c\n", over == plain, plain[0]);
    TRY(shmdt(plain));

    memory = shmat(id, NULL, SHM_RDONLY);
    say("read only: %c\n", memory[0]);
    TRY(mprotect(memory, PAGE, PROT_READ | PROT_WRITE));
    say("written to: %d\n", reap(CHILD(memory[0] = 1)));
    TRY(shmdt(memory));
    memory = shmat(id, NULL, SHM_EXEC);
    memcpy(memory, "\xb8\x2a\x00\x00\x00\xc3", 6);
    say("executed: %d\n", ((int (*)(void))(void *)memory)());
    TRY(shmdt(memory));
    CHECK(shmctl(id, IPC_RMID, NULL) == 0);
}

static void parts(void)
{
    int id = make(SIZE);
    char *memory = at(id);
    munmap(memory + 2 * PAGE, PAGE);
    attached("a hole", id);
    munmap(memory, PAGE);
    attached("without its beginning", id);
    memory[4 * PAGE] = 'e';
    TRY(shmdt(memory));
    attached("all of it", id);

    memory = at(id);
    munmap(memory, SIZE);
    attached("unmapped", id);
    memory = at(id);
    CHECK(mmap(memory, SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == memory);
    attached("something else is there", id);
    CHECK(munmap(memory, SIZE) == 0);
    int file = open("/proc/self/exe", O_RDONLY);
    for (int i = 0; i < 3; i++) { /* what has been mapped before may be mapped without asking */
        char *before = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0);
        CHECK(before != MAP_FAILED && munmap(before, PAGE) == 0);
        memory = at(id);
        CHECK(mmap(memory + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0) == memory + PAGE);
        attached("a file in it", id);
        TRY(shmdt(memory));
        munmap(memory + PAGE, PAGE);
    }
    attached("gone", id);

    memory = at(id);
    char *place = room(SIZE);
    CHECK(mremap(memory, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place);
    say("moved: %c\n", place[4 * PAGE]);
    TRY(shmdt(memory));
    attached("moved", id);
    CHECK(mremap(place, SIZE, 2 * PAGE, 0) == place);
    TRY(shmdt(place));
    attached("shrunk", id);
    memory = at(id);
    char *twice = mremap(memory, 0, SIZE, MREMAP_MAYMOVE);
    say("doubled: %d\n", twice != MAP_FAILED && twice[4 * PAGE] == 'e');
    attached("doubled", id);
    TRY(shmdt(memory));
    TRY(shmdt(twice));
    CHECK(shmctl(id, IPC_RMID, NULL) == 0);
}

static void become(int uid) { CHECK(setgroups(0, NULL) == 0 && setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0); }

static void others(void)
{
    key_t key = 0x70797363 + getpid();
    int id = shmget(key, PAGE, IPC_CREAT | IPC_EXCL | 0640);
    struct shmid_ds status = status_of(id), seen;
    CHECK(reap(CHILD(become(1000); TRY(shmctl(id, IPC_STAT, &seen)); TRY(shmctl(id, SHM_STAT_ANY, &seen) == -1 && errno == EACCES);
                     TRY(shmget(key, 0, 0) == id); TRY(shmget(key, 0, 0400)); TRY(shmctl(id, IPC_RMID, NULL)); TRY(shmctl(id, SHM_LOCK, NULL));
                     TRY(shmat(id, NULL, SHM_RDONLY) == FAILED ? -1 : 0))) == 0);
    status.shm_perm.gid = 1000;
    CHECK(shmctl(id, IPC_SET, &status) == 0);
    CHECK(reap(CHILD(become(1000); TRY(shmat(id, NULL, SHM_RDONLY) == FAILED ? -1 : 0); TRY(shmat(id, NULL, 0) == FAILED ? -1 : 0);
                     TRY(shmctl(id, IPC_SET, &status)))) == 0);
    status.shm_perm.uid = 1000;
    CHECK(shmctl(id, IPC_SET, &status) == 0);
    CHECK(reap(CHILD(become(1000); TRY(shmat(id, NULL, 0) == FAILED ? -1 : 0); status.shm_perm.mode = 0; TRY(shmctl(id, IPC_SET, &status));
                     TRY(shmat(id, NULL, 0) == FAILED ? -1 : 0); TRY(shmctl(id, IPC_RMID, NULL)))) == 0);
    TRY(shmget(key, 0, 0));
}

static void shown(void)
{
    int id = make(3 * PAGE);
    char *memory = at(id), line[512], wanted[64];
    int listed = 0, mapped = 0;
    memory[0] = memory[PAGE] = 1;
    FILE *file = fopen("/proc/sysvipc/shm", "r");
    CHECK(file && fgets(line, sizeof line, file));
    say("%s", line);
    snprintf(wanted, sizeof wanted, "%10d %10d  %4o %21ld %5u", 0, id, 0600, 3 * PAGE, getpid());
    while (fgets(line, sizeof line, file)) {
        if (!strncmp(line, wanted, strlen(wanted))) {
            listed++;
            say("resident%s\n", line + strlen(line) - 45);
        }
    }
    fclose(file);
    CHECK((file = fopen("/proc/self/maps", "r")));
    while (fgets(line, sizeof line, file))
        mapped += strstr(line, " rw-s 00000000 ") && strstr(line, " /SYSV00000000 (deleted)");
    fclose(file);
    say("listed %d mapped %d\n", listed, mapped);
    CHECK(shmctl(id, IPC_RMID, NULL) == 0 && shmdt(memory) == 0);
}

static void *adds(void *lock)
{
    for (int i = 0; i < 500; i++) {
        pthread_mutex_lock(lock);
        ((int *)lock)[100]++;
        pthread_mutex_unlock(lock);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        CHECK(write(1, argv[1], 1) == 1);
        pause();
    }
    keys();
    shared();
    places();
    parts();
    shown();
    if (geteuid() != 0)
        skip("needs root");
    others();

    int id = make(PAGE), ids[100];
    pthread_mutexattr_t attributes;
    pthread_mutex_t *lock = (void *)at(id);
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(lock, &attributes);
    pid_t child[3];
    for (int i = 0; i < 3; i++)
        child[i] = CHILD(adds(at(id)));
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, adds, at(id)) == 0);
    adds(lock);
    CHECK(pthread_join(thread, NULL) == 0);
    for (int i = 0; i < 3; i++)
        reap(child[i]);
    say("counted %d\n", ((int *)lock)[100]);
    CHECK(shmctl(id, IPC_RMID, NULL) == 0);
    for (int i = 0; i < COUNT(ids); i++) {
        ids[i] = make(i % 2 ? 100 : 100 * PAGE);
        *at(ids[i]) = i;
    }
    for (int i = 0; i < COUNT(ids); i++)
        CHECK(shmctl(ids[i], IPC_RMID, NULL) == 0 && status_of(ids[i]).shm_nattch == 1);
    return done();
}
