/* A guest that opens one file of the host's more often than the host would let it.  Its argument is the file's folder. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct rlimit limit = {30000, 30000};
    char text[8];
    int opened = 0, fd = -1, last;
    pid_t child;
    if (argc != 2 || chdir(argv[1]) || setrlimit(RLIMIT_NOFILE, &limit))
        return 1;
    while (opened < 25000 && (last = open("file", O_RDONLY)) >= 0) {
        fd = last;
        opened++;
    }
    child = fork();
    if (child == 0)
        _exit(0);
    printf("opened %d, forked %d, read %ld\n", opened, child > 0 && waitpid(child, NULL, 0) == child,
           (long)pread(fd, text, sizeof text, 0));
    return 0;
}
