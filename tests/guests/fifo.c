/* Named pipes: opening meets its peer, non-blocking opens do not wait, O_RDWR never does. */
#include "guest.h"

int main(void)
{
    scratch();
    TRY(mkfifo("f", 0640));
    TRY(mkfifo("f", 0640));
    struct stat st;
    CHECK(stat("f", &st) == 0 && S_ISFIFO(st.st_mode));
    TRY(open("f", O_WRONLY | O_NONBLOCK));
    int both = TRY(open("f", O_RDWR));
    TRY(write(both, "abc", 3));
    char buffer[10] = {0};
    TRY(read(both, buffer, 10));
    close(both);
    int reader = TRY(open("f", O_RDONLY | O_NONBLOCK));
    TRY(read(reader, buffer, 10));
    close(reader);
    pid_t child = CHILD(int fd = open("f", O_WRONLY); CHECK(write(fd, "hello", 5) == 5));
    reader = open("f", O_RDONLY);
    CHECK(reader >= 0);
    TRY(read(reader, buffer, 10));
    say("%s, %d\n", buffer, reap(child));
    TRY(read(reader, buffer, 10));
    int writer = open("f", O_WRONLY);
    CHECK(writer >= 0 && unlink("f") == 0);
    TRY(write(writer, "gone", 4));
    TRY(read(reader, buffer, 4));
    TRY(open("f", O_RDONLY));
    return done();
}
