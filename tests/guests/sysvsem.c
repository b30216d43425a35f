/* Semaphores of System V: operations that are done together or not at all, who waits and how that ends, what is undone. */
#include "guest.h"
#include <grp.h>
#include <sys/ipc.h>
#include <sys/sem.h>

union semun {
    int val;
    struct semid_ds *buf;
    unsigned short *array;
    struct seminfo *info;
};

static volatile int handled;
static void on_signal(int signal UNUSED) { handled++; }

static int make(int count)
{
    int id = semget(IPC_PRIVATE, count, IPC_CREAT | 0600);
    CHECK(id >= 0);
    return id;
}

static int value(int id, int number) { return semctl(id, number, GETVAL); }
static void set(int id, int number, int wanted) { CHECK(semctl(id, number, SETVAL, (union semun){.val = wanted}) == 0); }
static void gone(int id) { CHECK(semctl(id, 0, IPC_RMID) == 0); }

static int change(int id, int number, int by, int flags)
{
    return semop(id, &(struct sembuf){number, by, flags}, 1);
}

static int both(int id, int first, int second, int flags)
{
    return semop(id, (struct sembuf[]){{0, first, flags}, {1, second, flags}}, 2);
}

/* Return once so many wait. */
static void until(int id, int number, int command, int wanted)
{
    while (semctl(id, number, command) != wanted)
        nap(1);
}

static void values(void)
{
    key_t key = 0x70797363 + getpid();
    int id = semget(key, 3, IPC_CREAT | IPC_EXCL | 0640);
    unsigned short all[3] = {7, 8, 9};
    struct sembuf many[501] = {{0}};
    struct semid_ds status;
    CHECK(id >= 0);
    TRY(semget(key, 3, IPC_CREAT | IPC_EXCL));
    TRY(semget(key, 4, 0));
    TRY(semget(key, 0, 0) == id);
    TRY(semget(key + 1, 1, 0));
    TRY(semget(IPC_PRIVATE, 0, 0600));
    TRY(semget(IPC_PRIVATE, -1, 0600));
    TRY(semget(IPC_PRIVATE, 32001, 0600));
    CHECK(semctl(id, 0, IPC_STAT, (union semun){.buf = &status}) == 0);
    say("%ld of mode %o, never used %d\n", (long)status.sem_nsems, status.sem_perm.mode, status.sem_otime == 0);
    TRY(semctl(id, 0, SETALL, (union semun){.array = all}));
    TRY(value(id, 2));
    TRY(semctl(id, 1, SETVAL, (union semun){.val = 32767}));
    TRY(semctl(id, 1, SETVAL, (union semun){.val = 32768}));
    TRY(semctl(id, 1, SETVAL, (union semun){.val = -1}));
    TRY(semctl(id, 3, SETVAL, (union semun){.val = 1}));
    TRY(value(id, -1));
    all[0] = 32768;
    TRY(semctl(id, 0, SETALL, (union semun){.array = all}));
    TRY(semctl(id, 0, SETALL, (union semun){.array = BAD}));
    TRY(semctl(id, 0, GETALL, (union semun){.array = BAD}));
    TRY(semctl(id, 0, GETALL, (union semun){.array = all}));
    say("%d %d %d\n", all[0], all[1], all[2]);
    TRY(semctl(id, 0, 99));
    TRY(semctl(-1, 0, GETVAL));
    TRY(change(id, 1, 1, 0));
    TRY(change(id, 3, 1, 0));
    TRY(semop(id, many, 0));
    TRY(semop(id, many, 501));
    TRY(semop(id, BAD, 1));
    TRY(semop(-1, many, 1));
    TRY(semtimedop(id, many, 1, BAD));
    TRY(semtimedop(id, many, 1, &(struct timespec){0, -1}));
    TRY(both(id, -7, -32767, IPC_NOWAIT));
    TRY(both(id, -1, 0, IPC_NOWAIT));
    TRY(change(id, 0, -1, IPC_NOWAIT));
    TRY(change(id, 2, 0, IPC_NOWAIT));
    say("%d %d %d\n", value(id, 0), value(id, 1), value(id, 2));
    for (int i = 0; i < 500; i++)
        many[i] = (struct sembuf){0, i % 2 ? -1 : 1, 0};
    TRY(semop(id, many, 500));
    say("by us %d\n", semctl(id, 0, GETPID) == getpid());
    CHECK(semctl(id, 0, IPC_STAT, (union semun){.buf = &status}) == 0);
    say("used %d\n", status.sem_otime > 1600000000);
    status.sem_perm.mode = 0777;
    TRY(semctl(id, 0, IPC_SET, (union semun){.buf = &status}));
    TRY(semctl(id, 0, IPC_SET, (union semun){.buf = BAD}));
    struct seminfo info;
    CHECK(semctl(0, 0, IPC_INFO, (union semun){.info = &info}) >= 0);
    say("%d %d %d %d %d\n", info.semmni, info.semmsl, info.semopm, info.semvmx, info.semaem);
    int highest = semctl(0, 0, SEM_INFO, (union semun){.info = &info}), found = 0;
    CHECK(info.semusz > 0 && info.semaem >= 3);
    for (int i = 0; i <= highest; i++)
        found += semctl(i, 0, SEM_STAT, (union semun){.buf = &status}) == id && status.sem_perm.mode == 0777;
    char line[256], wanted[64];
    FILE *file = fopen("/proc/sysvipc/sem", "r");
    CHECK(file && fgets(line, sizeof line, file));
    say("%s", line);
    snprintf(wanted, sizeof wanted, "%10d %10d  %4o %10u %5u", key, id, 0777, 3, geteuid());
    while (fgets(line, sizeof line, file))
        found += !strncmp(line, wanted, strlen(wanted));
    fclose(file);
    say("found %d\n", found);
    gone(id);
    TRY(value(id, 0) == -1 && (errno == EINVAL || errno == EIDRM));
}

static void waits(void)
{
    int id = make(2);
    pid_t child = CHILD(CHECK(change(id, 0, -1, 0) == 0));
    until(id, 0, GETNCNT, 1);
    CHECK(change(id, 0, 1, 0) == 0);
    say("taken at once: %d, by it %d\n", value(id, 0), semctl(id, 0, GETPID) == child);
    reap(child);
    set(id, 0, 2);
    child = CHILD(CHECK(change(id, 0, 0, 0) == 0));
    until(id, 0, GETZCNT, 1);
    CHECK(change(id, 0, -1, 0) == 0);
    say("not yet: %d\n", semctl(id, 0, GETZCNT));
    CHECK(change(id, 0, -1, 0) == 0);
    say("zero: %d\n", reap(child));

    child = CHILD(CHECK(both(id, -1, -1, 0) == 0)); /* it waits for the first, then for the second */
    until(id, 0, GETNCNT, 1);
    set(id, 0, 1);
    until(id, 1, GETNCNT, 1);
    say("both or none: %d\n", value(id, 0));
    set(id, 1, 1);
    reap(child);
    say("both: %d %d\n", value(id, 0), value(id, 1));

    pid_t three[3];
    int order[2];
    char got[4] = "";
    CHECK(pipe(order) == 0);
    for (int i = 0; i < 3; i++) {
        three[i] = CHILD(CHECK(change(id, 0, -1, 0) == 0); CHECK(write(order[1], &"abc"[i], 1) == 1));
        until(id, 0, GETNCNT, i + 1);
    }
    for (int i = 0; i < 3; i++)
        CHECK(change(id, 0, 1, 0) == 0 && read(order[0], got + i, 1) == 1);
    for (int i = 0; i < 3; i++)
        reap(three[i]);
    say("all three, 0 left: %d\n", strlen(got) == 3 && value(id, 0) == 0);

    for (int i = 0; i < 3; i++)
        three[i] = CHILD(CHECK(change(id, 0, i == 2 ? 0 : -i - 1, 0) == 0)); /* -1, -2, and for zero */
    reap(three[2]);
    until(id, 0, GETNCNT, 2);
    CHECK(change(id, 0, 3, 0) == 0 && reap(three[0]) == 0 && reap(three[1]) == 0);
    say("three for two: %d\n", value(id, 0));

    child = CHILD(TRY(change(id, 0, -1, 0)));
    until(id, 0, GETNCNT, 1);
    kill(child, SIGKILL);
    reap(child);
    say("nobody waits: %d\n", semctl(id, 0, GETNCNT));
    handle(SIGUSR1, SA_RESTART, on_signal);
    child = CHILD(TRY(change(id, 0, -1, 0)); say("handled %d\n", handled));
    until(id, 0, GETNCNT, 1);
    kill(child, SIGUSR1);
    reap(child);
    child = CHILD(TRY(change(id, 0, -1, 0)));
    until(id, 0, GETNCNT, 1);
    kill(child, SIGSTOP);
    nap(20);
    kill(child, SIGCONT);
    say("stopped, and continued: %d\n", reap(child));
    double begun = seconds();
    TRY(semtimedop(id, &(struct sembuf){0, -1, 0}, 1, &(struct timespec){0, 60000000}));
    double took = seconds() - begun;
    say("in time %d\n", took > .059 && took < 5);
    TRY(semtimedop(id, &(struct sembuf){0, -1, 0}, 1, &(struct timespec){0, 0}));
    TRY(semtimedop(id, &(struct sembuf){0, 1, 0}, 1, &(struct timespec){0, 0}));
    set(id, 0, 0);
    child = CHILD(TRY(semtimedop(id, &(struct sembuf){0, -1, 0}, 1, &(struct timespec){20, 0})));
    until(id, 0, GETNCNT, 1);
    gone(id);
    reap(child);
}

static void *undone(void *id)
{
    CHECK(change(*(int *)id, 0, -1, SEM_UNDO) == 0);
    return NULL;
}

static void undo(void)
{
    int id = make(2), go[2];
    char byte;
    CHECK(pipe(go) == 0);
    set(id, 0, 5);
    pid_t child = CHILD(CHECK(change(id, 0, -2, SEM_UNDO) == 0 && change(id, 0, -1, 0) == 0); say("in the child %d\n", value(id, 0)));
    reap(child);
    say("undone: %d, by it %d\n", value(id, 0), semctl(id, 0, GETPID) == child);
    child = CHILD(CHECK(both(id, -3, 3, SEM_UNDO) == 0 && write(go[1], "x", 1) == 1); pause());
    CHECK(read(go[0], &byte, 1) == 1);
    say("%d %d\n", value(id, 0), value(id, 1));
    kill(child, SIGKILL);
    reap(child);
    say("killed: %d %d\n", value(id, 0), value(id, 1));
    child = CHILD(pthread_t thread; CHECK(pthread_create(&thread, NULL, undone, &id) == 0 && pthread_join(thread, NULL) == 0);
                  say("a thread has ended: %d\n", value(id, 0)); CHECK(change(id, 0, 1, SEM_UNDO) == 0));
    reap(child);
    say("it was undone already: %d\n", value(id, 0));
    child = CHILD(CHECK(change(id, 0, -1, SEM_UNDO) == 0); reap(CHILD(_exit(0))); say("not by a child: %d\n", value(id, 0));
                  execl("/proc/self/exe", "sysvsem", "x", NULL));
    reap(child);
    say("at the end of another program: %d\n", value(id, 0));
    child = CHILD(CHECK(change(id, 0, -1, SEM_UNDO) == 0); set(id, 0, 9));
    reap(child);
    say("set: %d\n", value(id, 0));
    child = CHILD(unsigned short all[2] = {4}; CHECK(change(id, 0, -1, SEM_UNDO) == 0);
                  CHECK(semctl(id, 0, SETALL, (union semun){.array = all}) == 0));
    reap(child);
    say("all set: %d %d\n", value(id, 0), value(id, 1));
    child = CHILD(TRY(change(id, 1, 20000, SEM_UNDO)); TRY(change(id, 1, -20000, 0)); TRY(change(id, 1, 20000, SEM_UNDO)));
    reap(child);
    say("not below 0: %d\n", value(id, 1));
    set(id, 0, 0);
    child = CHILD(CHECK(change(id, 0, 1, SEM_UNDO) == 0); CHECK(change(id, 0, -1, 0) == 0 && change(id, 1, 1, 0) == 0);
                  CHECK(change(id, 1, -1, SEM_UNDO) == 0 && write(go[1], "x", 1) == 1); pause());
    CHECK(read(go[0], &byte, 1) == 1);
    pid_t other = CHILD(CHECK(change(id, 1, -1, 0) == 0));
    until(id, 1, GETNCNT, 1);
    kill(child, SIGKILL);
    say("who waits goes on: %d\n", reap(other));
    reap(child);
    child = CHILD(CHECK(change(id, 0, 1, SEM_UNDO) == 0); CHECK(unshare(CLONE_SYSVSEM) == 0); say("unshared: %d\n", value(id, 0)));
    reap(child);
    child = CHILD(CHECK(change(id, 0, 1, SEM_UNDO) == 0); gone(id));
    say("removed before: %d\n", reap(child));
}

static void become(int uid) { CHECK(setgroups(0, NULL) == 0 && setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0); }

int main(int argc, char **argv UNUSED)
{
    if (argc > 1)
        return 0;
    values();
    waits();
    undo();
    int id = make(1);
    pid_t child[4];
    set(id, 0, 1);
    for (int i = 0; i < 4; i++)
        child[i] = CHILD(for (int j = 0; j < 100; j++) CHECK(change(id, 0, -1, SEM_UNDO) == 0 && change(id, 0, 1, SEM_UNDO) == 0));
    for (int i = 0; i < 4; i++)
        CHECK(reap(child[i]) == 0);
    say("a lock: %d\n", value(id, 0));
    gone(id);
    if (geteuid() != 0)
        skip("needs root");
    id = semget(IPC_PRIVATE, 1, 0644);
    CHECK(reap(CHILD(become(1000); TRY(value(id, 0)); TRY(change(id, 0, 0, 0)); TRY(change(id, 0, 1, 0)); TRY(semctl(id, 0, IPC_RMID));
                     TRY(semctl(id, 0, SETVAL, (union semun){.val = 1})))) == 0);
    gone(id);
    return done();
}
