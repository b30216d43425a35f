/* A guest that changes a large file of the host's while another thread tries in vain to exchange it for a directory.  Its
 * argument is a folder with a file `big` and a directory `sub`. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static volatile int done;

static void *change(void *unused)
{
    int fd = open("big", O_RDWR);
    if (pwrite(fd, "new", 3, 0) != 3 || ftruncate(fd, 3))
        puts("cannot change it");
    done = 1;
    return unused;
}

int main(int argc, char **argv)
{
    struct stat st;
    char text[8] = "";
    pthread_t other;
    if (argc != 2 || chdir(argv[1]) || stat("big", &st))
        return 1;
    printf("before: %ld\n", (long)st.st_size);
    pthread_create(&other, NULL, change, NULL);
    for (int i = 0; i < 10 && !done; i++) {
        renameat2(AT_FDCWD, "sub", AT_FDCWD, "big", RENAME_EXCHANGE);
        stat("big", &st);
    }
    pthread_join(other, NULL);
    stat("big", &st);
    printf("after: %ld", (long)st.st_size);
    printf(" %ld %s\n", (long)pread(open("big", O_RDONLY), text, sizeof text - 1, 0), text);
    return 0;
}
