/* fork: private memory, shared descriptions, exit statuses, grandchildren and orphans. */
#include "guest.h"
#include <sys/prctl.h>

int main(void)
{
    static int data = 1;
    int *heap = malloc(sizeof *heap), local = 3;
    *heap = 2;
    pid_t child = CHILD(data = 10; *heap = 20; local = 30; _exit(data + *heap + local));
    say("child saw %d, parent has %d\n", reap(child), data + *heap + local);
    for (int status = 0; status < 300; status += 100)
        say("exit(%d) = %d\n", status, reap(CHILD(_exit(status))));
    say("exit(-1) = %d\n", reap(CHILD(_exit(-1))));

    scratch();
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    CHECK(write(fd, "abcdef", 6) == 6 && lseek(fd, 0, SEEK_SET) == 0);
    char byte;
    child = CHILD(read(fd, &byte, 1); read(fd, &byte, 1));
    reap(child);
    CHECK(read(fd, &byte, 1) == 1);
    say("offsets are shared: %c\n", byte);

    int ends[2];
    CHECK(pipe(ends) == 0 && prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    pid_t me = getpid();
    child = CHILD(CHILD(while (getppid() != me) nap(1); CHECK(write(ends[1], "o", 1) == 1); _exit(7)));
    CHECK(reap(child) == 0 && read(ends[0], &byte, 1) == 1);
    int status;
    CHECK(wait(&status) > 0);
    say("the orphan came to its reaper and exited %d\n", WEXITSTATUS(status));

    for (int depth = 0; depth < 20; depth++) {
        child = fork();
        if (child) {
            status = reap(child);
            if (depth == 0) {
                say("a chain of 20 forks returned %d\n", status);
                break;
            }
            _exit(status + 1);
        } else if (depth == 19)
            _exit(1);
    }
    pid_t many[100];
    for (int i = 0; i < 100; i++)
        many[i] = CHILD(_exit(i));
    int sum = 0;
    for (int i = 0; i < 100; i++)
        sum += reap(many[i]);
    say("100 at once: %d\n", sum);
    TRY(waitpid(-1, &status, 0));
    return done();
}
