/* The working directory and the root: chdir, fchdir, getcwd of what is gone, chroot, relative opens, "..". */
#include "guest.h"

#define TWENTY "abcdefghijklmnopqrst"
#define LONG_NAME TWENTY TWENTY TWENTY TWENTY TWENTY

static void where(void)
{
    char path[PATH_MAX];
    if (!getcwd(path, sizeof path))
        say("cwd %s\n", strerrorname_np(errno));
    else
        say("cwd %s\n", strncmp(path, scratch_path, strlen(scratch_path)) == 0 ? path + strlen(scratch_path) : path);
}

int main(void)
{
    struct stat st;
    char path[8];
    scratch();
    where();
    CHECK(mkdir("a", 0755) == 0 && mkdir("a/b", 0755) == 0 && symlink("a/b", "l") == 0);
    TRY(chdir("l"));
    where();
    TRY(chdir("../.."));
    where();
    int a = open("a", O_RDONLY | O_DIRECTORY);
    TRY(chdir("a/./b/../b//"));
    where();
    TRY(fchdir(a));
    where();
    CHECK(rename("../a", "../z") == 0);
    where();
    CHECK(getcwd(path, sizeof path) == NULL && errno == ERANGE);
    TRY(syscall(SYS_getcwd, path, 1));
    CHECK(chdir("b") == 0 && rmdir("../b") == 0);
    where();
    TRY(open("x", O_CREAT | O_RDWR, 0600));
    TRY(mkdir("x", 0700));
    TRY(stat(".", &st));
    TRY(chdir(".."));
    where();
    TRY(chdir("nothing"));
    CHECK(close(open("file", O_CREAT | O_RDWR, 0600)) == 0);
    TRY(chdir("file"));
    TRY(chdir(""));
    TRY(chdir("/.."));
    where();
    TRY(chdir("/../../tmp/.."));
    where();
    char long_path[2 * PATH_MAX];
    CHECK(chdir(scratch_path) == 0);
    for (int i = 0; i < 50; i++)
        CHECK(mkdir(LONG_NAME, 0755) == 0 && chdir(LONG_NAME) == 0);
    TRY(syscall(SYS_getcwd, long_path, sizeof long_path));
    int deep = open(".", O_RDONLY | O_DIRECTORY);
    sprintf(path, "%d", deep);
    TRY(readlinkat(open("/proc/self/fd", O_RDONLY | O_DIRECTORY), path, long_path, sizeof long_path));
    for (int i = 0; i < 50; i++)
        CHECK(chdir("..") == 0 && rmdir(LONG_NAME) == 0);
    if (geteuid() == 0) {
        pid_t child = CHILD(CHECK(chdir(scratch_path) == 0); CHECK(mkdir("root", 0755) == 0); TRY(chroot("root")); TRY(stat("/tmp", &st));
                            TRY(chdir("/")); TRY(chdir("..")); TRY(mkdir("/inside", 0755)); TRY(stat("/../inside", &st)); where());
        CHECK(reap(child) == 0 && chdir(scratch_path) == 0 && stat("root/inside", &st) == 0);
    }
    return done();
}
