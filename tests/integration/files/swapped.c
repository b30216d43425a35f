/* Several processes use what is below two directories that the host swaps all the time, as well as what is in them: all
   paths lead somewhere at any moment.  swapped PROCESSES ROUNDS, in the directory of `one` and `two`. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int failed;

static int
must(int result, const char *what, const char *path)
{
    if (result < 0) {
        printf("%s of %s: %s\n", what, path, strerror(errno));
        failed = 1;
    }
    return result;
}

static void
opened(const char *path, int flags, const char *what)
{
    int fd = must(open(path, flags, 0600), what, path);

    if (fd >= 0)
        close(fd);
}

static void
use(const char *directory, int process)
{
    char path[64];
    struct stat found;

    snprintf(path, sizeof path, "%s/file", directory);
    must(stat(path, &found), "stat", path);
    opened(path, O_RDONLY, "open");
    opened(path, O_RDWR, "open to write");
    snprintf(path, sizeof path, "%s/below/file", directory);
    must(stat(path, &found), "stat", path);
    must(chmod(path, 0644), "chmod", path);
    opened(path, O_RDONLY, "open");
    snprintf(path, sizeof path, "%s/of.%d", directory, process);
    opened(path, O_RDWR | O_CREAT, "creation");
    if (unlink(path) < 0 && errno != ENOENT) /* it may be in the other one by now */
        must(-1, "unlink", path);
}

int
main(int argc, char **argv)
{
    int processes = argc == 3 ? atoi(argv[1]) : 0, status;

    for (int process = 0; process < processes; process++) {
        if (fork())
            continue;
        for (int round = atoi(argv[2]); round && !failed; round--) {
            use("one", process);
            use("two", process);
        }
        fflush(stdout);
        _exit(failed);
    }
    while (wait(&status) > 0)
        failed |= status;
    return !!failed;
}
