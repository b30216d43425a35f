/* Message queues of System V: which message comes, who waits for one or for room, how that ends, limits. */
#include "guest.h"
#include <grp.h>
#include <sys/ipc.h>
#include <sys/msg.h>

static struct {
    long type;
    char text[9000];
} message;

static volatile int handled;
static void on_signal(int signal UNUSED) { handled++; }

static int make(void)
{
    int id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
    CHECK(id >= 0);
    return id;
}

static void gone(int id) { CHECK(msgctl(id, IPC_RMID, NULL) == 0); }

static long put(int id, long type, const char *text, int flags)
{
    message.type = type;
    strcpy(message.text, text);
    return msgsnd(id, &message, strlen(text), flags);
}

static void get(const char *what, int id, long type, int flags)
{
    memset(&message, 0, sizeof message);
    long size = msgrcv(id, &message, 100, type, flags | IPC_NOWAIT);
    if (size < 0)
        say("%s: %s\n", what, strerrorname_np(errno));
    else
        say("%s: %ld bytes, type %ld: %s\n", what, size, message.type, message.text);
}

static struct msqid_ds status_of(int id)
{
    struct msqid_ds status;
    CHECK(msgctl(id, IPC_STAT, &status) == 0);
    return status;
}

static void until(pid_t pid, char wanted)
{
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    do {
        nap(2);
        int file = open(path, O_RDONLY);
        CHECK(file >= 0 && read(file, text, sizeof text - 1) > 0 && close(file) == 0);
    } while (strrchr(text, ')')[2] != wanted);
}

static void choosing(void)
{
    int id = make();
    const long types[] = {3, 1, 2, 1, 5, 3};
    char text[2] = "a";
    for (int i = 0; i < COUNT(types); i++, text[0]++)
        CHECK(put(id, types[i], text, 0) == 0);
    get("the first", id, 0, 0);
    get("of a type", id, 3, 0);
    get("the lowest", id, -4, 0);
    get("another type", id, 2, MSG_EXCEPT);
    get("none so low", id, -1, 0);
    get("none of it", id, 7, 0);
    struct msqid_ds status = status_of(id);
    say("%ld messages, %ld bytes, ours %d %d\n", (long)status.msg_qnum, (long)status.__msg_cbytes, status.msg_lspid == getpid(),
        status.msg_lrpid == getpid());
    CHECK(status.msg_stime > 1600000000 && status.msg_rtime > 1600000000);
    get("the lowest of all", id, LONG_MIN, 0);
    get("the last", id, 0, 0);
    get("empty", id, 0, 0);
    CHECK(put(id, 9, "0123456789", 0) == 0);
    TRY(msgrcv(id, &message, 4, 0, IPC_NOWAIT));
    TRY(msgrcv(id, &message, 4, 0, IPC_NOWAIT | MSG_NOERROR));
    say("%.4s, and nothing is left: %ld\n", message.text, (long)status_of(id).msg_qnum);
    CHECK(put(id, 1, "", 0) == 0);
    get("no bytes", id, 0, 0);
    TRY(put(id, 0, "x", 0));
    TRY(put(id, -1, "x", 0));
    TRY(msgsnd(id, &message, 8193, 0));
    TRY(msgsnd(id, &message, -1L, 0));
    TRY(msgsnd(id, BAD, 1, 0));
    TRY(msgsnd(-1, &message, 1, 0) == -1);
    TRY(msgrcv(id, &message, -1L, 0, IPC_NOWAIT));
    TRY(msgrcv(-1, &message, 1, 0, IPC_NOWAIT));
    CHECK(put(id, 1, "lost", 0) == 0);
    TRY(msgrcv(id, BAD, 100, 0, 0));
    say("left: %ld\n", (long)status_of(id).msg_qnum);
    gone(id);
    TRY(put(id, 1, "x", 0) == -1 && (errno == EINVAL || errno == EIDRM));
}

static void keys(void)
{
    key_t key = 0x70797363 + getpid();
    int id = msgget(key, IPC_CREAT | IPC_EXCL | 0640);
    struct msqid_ds status;
    struct msginfo info;
    CHECK(id >= 0);
    TRY(msgget(key, IPC_CREAT | IPC_EXCL));
    TRY(msgget(key, 0) == id);
    TRY(msgget(key + 1, 0));
    status = status_of(id);
    say("mode %o, %ld bytes may be\n", status.msg_perm.mode, (long)status.msg_qbytes);
    status.msg_qbytes = 1000;
    status.msg_perm.mode = 0600;
    TRY(msgctl(id, IPC_SET, &status));
    TRY(msgctl(id, IPC_SET, BAD));
    TRY(msgctl(id, IPC_STAT, BAD));
    TRY(msgctl(id, 99, &status));
    TRY(msgctl(-1, IPC_STAT, &status));
    memset(message.text, 'x', 600);
    message.type = 1;
    TRY(msgsnd(id, &message, 600, IPC_NOWAIT));
    TRY(msgsnd(id, &message, 401, IPC_NOWAIT));
    TRY(msgsnd(id, &message, 400, IPC_NOWAIT));
    TRY(msgsnd(id, &message, 1, IPC_NOWAIT));
    TRY(msgsnd(id, &message, 0, IPC_NOWAIT));
    int highest = msgctl(0, MSG_INFO, (void *)&info), found = 0;
    CHECK(info.msgpool > 0 && info.msgmap >= 3 && info.msgtql >= 1000);
    for (int i = 0; i <= highest; i++)
        found += msgctl(i, MSG_STAT, &status) == id;
    CHECK(msgctl(0, IPC_INFO, (void *)&info) >= 0);
    say("%d %d %d %d %d\n", info.msgmax, info.msgmnb, info.msgmni, info.msgssz, info.msgseg);
    char line[256], wanted[96];
    FILE *file = fopen("/proc/sysvipc/msg", "r");
    CHECK(file && fgets(line, sizeof line, file));
    say("%s", line);
    snprintf(wanted, sizeof wanted, "%10d %10d  %4o  %10u %10u %5u %5u", key, id, 0600, 1000, 3, getpid(), 0);
    while (fgets(line, sizeof line, file))
        found += !strncmp(line, wanted, strlen(wanted));
    fclose(file);
    say("found %d\n", found);
    gone(id);
}

static void waits(void)
{
    int id = make();
    pid_t child = CHILD(CHECK(msgrcv(id, &message, 100, 2, 0) == 3); say("came: %.3s\n", message.text));
    until(child, 'S');
    CHECK(put(id, 1, "one", 0) == 0 && put(id, 2, "two", 0) == 0);
    reap(child);
    get("the other is left", id, 0, 0);
    child = CHILD(TRY(msgrcv(id, &message, 2, 0, 0)));
    until(child, 'S');
    CHECK(put(id, 1, "too long", 0) == 0);
    reap(child);
    get("it stays", id, 0, 0);

    memset(message.text, 'x', 8192);
    message.type = 1;
    CHECK(msgsnd(id, &message, 8192, 0) == 0 && msgsnd(id, &message, 8192, 0) == 0);
    TRY(msgsnd(id, &message, 1, IPC_NOWAIT));
    child = CHILD(CHECK(put(id, 3, "had to wait", 0) == 0));
    until(child, 'S');
    CHECK(msgrcv(id, &message, 8192, 1, 0) == 8192);
    reap(child);
    get("then it came", id, 3, 0);

    handle(SIGUSR1, SA_RESTART, on_signal);
    child = CHILD(TRY(msgrcv(id, &message, 100, 7, 0)); say("handled %d\n", handled));
    until(child, 'S');
    kill(child, SIGUSR1);
    reap(child);
    child = CHILD(CHECK(msgrcv(id, &message, 100, 7, 0) == 5); say("stopped, continued: %.5s\n", message.text));
    until(child, 'S');
    kill(child, SIGSTOP);
    until(child, 'T');
    kill(child, SIGCONT);
    until(child, 'S');
    CHECK(put(id, 7, "seven", 0) == 0);
    reap(child);
    child = CHILD(TRY(msgrcv(id, &message, 100, 7, 0)));
    until(child, 'S');
    kill(child, SIGKILL);
    reap(child);
    CHECK(put(id, 7, "kept", 0) == 0);
    get("nobody took it", id, 7, 0);

    CHECK(msgsnd(id, (message.type = 1, &message), 8192, 0) == 0);
    child = CHILD(TRY(msgsnd(id, &message, 8192, 0)); say("handled %d\n", handled));
    until(child, 'S');
    kill(child, SIGUSR1);
    reap(child);
    child = CHILD(TRY(msgsnd(id, &message, 8192, 0)));
    until(child, 'S');
    gone(id);
    reap(child);
    id = make();
    child = CHILD(TRY(msgrcv(id, &message, 100, 0, 0)));
    until(child, 'S');
    gone(id);
    reap(child);
}

static void become(int uid) { CHECK(setgroups(0, NULL) == 0 && setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0); }

int main(void)
{
    keys();
    choosing();
    waits();
    int id = make(), answers = make();
    pid_t child[3];
    for (int i = 0; i < 3; i++)
        child[i] = CHILD(for (int n = 0; n >= 0;) {
            CHECK(msgrcv(id, &message, sizeof n, 0, 0) == sizeof n);
            memcpy(&n, message.text, sizeof n);
            if (n >= 0)
                CHECK(msgsnd(answers, &message, sizeof n, 0) == 0);
        });
    long sum = 0;
    for (int n = 0; n < 300; n++) {
        int back;
        message.type = n + 1;
        memcpy(message.text, &n, sizeof n);
        CHECK(msgsnd(id, &message, sizeof n, 0) == 0 && msgrcv(answers, &message, sizeof n, n + 1, 0) == sizeof n);
        memcpy(&back, message.text, sizeof back);
        sum += back;
    }
    for (int i = 0, end = -1; i < 3; i++) {
        memcpy(message.text, &end, sizeof end);
        CHECK(msgsnd(id, &message, sizeof end, 0) == 0);
    }
    for (int i = 0; i < 3; i++)
        CHECK(reap(child[i]) == 0);
    say("answered: %ld\n", sum);
    gone(id), gone(answers);
    if (geteuid() != 0)
        skip("needs root");
    id = msgget(IPC_PRIVATE, 0644);
    struct msqid_ds status = status_of(id);
    CHECK(reap(CHILD(become(1000); TRY(put(id, 1, "x", 0)); TRY(msgrcv(id, &message, 1, 0, IPC_NOWAIT)); TRY(msgctl(id, IPC_RMID, NULL)))) == 0);
    status.msg_perm.uid = 1000;
    CHECK(msgctl(id, IPC_SET, &status) == 0);
    status.msg_qbytes = 16385;
    CHECK(reap(CHILD(become(1000); TRY(put(id, 1, "x", 0)); TRY(msgctl(id, IPC_SET, &status)))) == 0);
    gone(id);
    return done();
}
