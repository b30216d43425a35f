/* Opens more files than the sentry may have descriptors: crowd FLAGS.  Prints how many, why no more, and that it goes on. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES 2000
#define IDLE 500

static int
open_one(int number, int flags)
{
    char name[32];

    snprintf(name, sizeof name, "crowd/%d", number);
    return open(name, flags, 0644);
}

int
main(int argc, char **argv)
{
    struct rlimit limit = {FILES + 100, FILES + 100};
    int flags = argc == 2 ? atoi(argv[1]) : -1, opened = 0, error = 0, child;

    if (flags < 0 || setrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 2;
    for (int number = 0; number < IDLE; number++)
        close(open_one(number, flags));
    for (int number = IDLE; number < FILES && !error; number++) {
        if (open_one(number, flags) < 0)
            error = errno;
        else
            opened++;
    }
    printf("%d %d\n", opened, error);
    fflush(stdout);
    child = fork();
    if (child == 0)
        _exit(3);
    printf("%d\n", child > 0 && waitpid(child, &error, 0) == child ? WEXITSTATUS(error) : -1);
    for (int fd = 3; fd < 3 + opened; fd++)
        close(fd);
    printf("%d %d\n", open_one(FILES, O_CREAT | O_EXCL | O_RDWR) >= 0, open_one(FILES - 1, O_RDWR) >= 0);
    return 0;
}
