/* Makes, renames and changes files while gofers die: tells what was answered, until its input ends.
   A line for each file: its number, the step that failed, or "-", and its errno. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *
steps(int number, int log)
{
    char first[32], second[32], text[16];
    int length = snprintf(text, sizeof text, "%08d\n", number), fd;
    struct stat found;

    snprintf(first, sizeof first, "first.%d", number);
    snprintf(second, sizeof second, "second.%d", number);
    if (mkdir("directory", 0755) < 0)
        return "mkdir";
    fd = open(first, O_CREAT | O_EXCL | O_RDWR, 0644);
    if (fd < 0)
        return "create";
    if (write(fd, text, (size_t)length) != length || write(log, text, (size_t)length) != length)
        return "write";
    if (fchmod(fd, 0600) < 0)
        return "chmod";
    close(fd);
    if (link(first, "directory/link") < 0)
        return "link";
    if (rename(first, second) < 0)
        return "rename";
    if (truncate(second, 8) < 0)
        return "truncate";
    if (stat(second, &found) < 0 || found.st_size != 8)
        return "stat";
    if (unlink("directory/link") < 0)
        return "unlink";
    return rmdir("directory") < 0 ? "rmdir" : "-";
}

static int
stopped(void)
{
    struct pollfd input = {.fd = 0, .events = POLLIN};

    return poll(&input, 1, 0) > 0;
}

static int
gone(int result)
{
    return result == 0 || errno == ENOENT;
}

int
main(void)
{
    int log = open("log", O_CREAT | O_WRONLY | O_APPEND, 0644);

    for (int number = 0; !stopped(); number++) {
        const char *step;

        errno = 0;
        step = steps(number, log);
        printf("%d %s %d\n", number, step, *step == '-' ? 0 : errno);
        fflush(stdout);
        while (*step != '-' && !stopped() && !(gone(unlink("directory/link")) && gone(rmdir("directory"))))
            ;
    }
    return 0;
}
