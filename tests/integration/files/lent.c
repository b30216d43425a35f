/* A file that is read again and again by a descriptor from before somebody changes it: both show what is written. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int reader = open(argv[argc - 1], O_RDONLY), writer;
    char byte = 0;

    for (int i = 0; i < 2000; i++)
        if (pread(reader, &byte, 1, i) != 1 || byte != 'l')
            return 1;
    writer = open(argv[argc - 1], O_RDWR);
    if (writer < 0 || pwrite(writer, "written", 7, 100) != 7)
        return 2;
    for (int i = 0; i < 2000; i++)
        if (pread(reader, &byte, 1, 100) != 1 || byte != 'w')
            return 3;
    printf("%c\n", byte);
    return 0;
}
