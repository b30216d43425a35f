/* What stat says of a directory after each change of it and of what is in it; asked often, as shells and git do. */
#include "guest.h"

static struct stat last;

/* Twenty times the same, then what is other than before the change. */
static void ask(const char *what, int result)
{
    struct stat now, again;
    CHECK(stat("d", &now) == 0);
    for (int i = 0; i < 20; i++)
        CHECK(stat("d", &again) == 0 && memcmp(&now, &again, sizeof now) == 0);
    CHECK(lstat("d", &again) == 0 && memcmp(&now, &again, sizeof now) == 0);
    say("%s (%d): mode %o uid %d nlink %d mtime %d ctime %d\n", what, result, now.st_mode, (int)now.st_uid,
        (int)(now.st_nlink - last.st_nlink), memcmp(&now.st_mtim, &last.st_mtim, 16) != 0,
        memcmp(&now.st_ctim, &last.st_ctim, 16) != 0);
    last = now;
    usleep(12000); /* the host's clock of files is coarse */
}

int main(void)
{
    struct timespec times[2] = {{5, 0}, {6, 0}};
    scratch();
    CHECK(mkdir("d", 0755) == 0 && mkdir("other", 0755) == 0 && stat("d", &last) == 0);
    usleep(12000);
    ask("nothing", 0);
    ask("a file", close(open("d/f", O_CREAT | O_WRONLY, 0600)));
    ask("written", close(open("d/f", O_WRONLY | O_TRUNC)));
    ask("a directory", mkdir("d/s", 0700));
    ask("below that", mkdir("d/s/t", 0700));
    ask("a link", symlink("x", "d/l"));
    ask("a hard link", link("d/f", "d/g"));
    ask("renamed inside", rename("d/g", "d/h"));
    ask("moved out", rename("d/h", "other/h"));
    ask("moved in", rename("other/h", "d/i"));
    ask("directory moved out", rename("d/s", "other/s"));
    ask("moved in over an empty one", mkdir("d/u", 0700) | rename("other/s", "d/u"));
    ask("unlinked", unlink("d/i"));
    ask("not empty", rmdir("d/u"));
    ask("removed", rmdir("d/u/t") | rmdir("d/u"));
    ask("mode", chmod("d", 01777));
    ask("times", utimensat(AT_FDCWD, "d", times, 0));
    if (geteuid() == 0)
        ask("owner", chown("d", 12, 34));
    ask("itself renamed", rename("d", "e") | rename("e", "d"));
    int directory = open("d", O_RDONLY);
    ask("by descriptor", fchmod(directory, 0700));
    ask("a file by descriptor", close(openat(directory, "z", O_CREAT | O_WRONLY, 0600)));
    CHECK(rename("d", "gone") == 0 && mkdir("d", 0711) == 0);
    ask("another of that name", 0);
    return done();
}
