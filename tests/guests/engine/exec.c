/* execve of "/hello" with a long argument. */
#include "nolibc.h"

int
guest(long argc, char **argv)
{
    char text[302];
    char *arguments[] = {"hello", text, 0};

    (void)argc, (void)argv;
    for (int i = 0; i < 300; i++)
        text[i] = 'x';
    text[300] = '\n';
    text[301] = 0;
    SYS(__NR_execve, "/hello", arguments, 0);
    return 1;
}
