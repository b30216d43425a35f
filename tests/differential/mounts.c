/* A guest that mounts over, beside and below files that the host had before, and says what paths lead to then.  Its
 * argument is a folder with `sub/f`, `sub/g`, `sub/x/y` and `old/inner`; each scene has a mount namespace of its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAY(call) say(#call, call)

static const char *folder;
static char point[] = "/tmp/pysc-mounts.XXXXXX";

static void say(const char *call, long result)
{
    printf("%s: %ld %s\n", call, result < 0 ? -1 : result, result < 0 ? strerrorname_np(errno) : "");
    fflush(stdout);
}

static int is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static long size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) ? -1 : (long)st.st_size;
}

static void show(int fd)
{
    char text[16] = "";
    long size = pread(fd, text, sizeof text - 1, 0);
    printf("%ld bytes: %s\n", size, text);
}

/* A path in the folder, as it is seen below a mount. */
static const char *in(const char *mount, const char *name)
{
    static char paths[4][600];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof *paths, "%s%s/%s", mount, folder, name);
    return path;
}

static void pivot_into_itself(void)
{
    SAY(mount("/", point, NULL, MS_BIND, NULL));
    SAY(chdir(in(point, "old")));
    SAY(is_there("inner"));
    SAY(chdir(point));
    SAY(syscall(SYS_pivot_root, ".", in(point, "old")));
    SAY(chdir("/"));
    SAY(is_there(in("", "old/inner")));
    SAY(is_there(in(in("", "old"), "old/inner")));
    SAY(chdir(in("", "old")));
    SAY(is_there("inner"));
    SAY(is_there("etc"));
    SAY(is_there("../sub/f"));
}

static void root_and_directory_in_different_mounts(void)
{
    SAY(mount("/", point, NULL, MS_BIND, NULL));
    SAY(chdir(in(point, "sub/x")));
    SAY(chroot(in("", "sub")));
    SAY(is_there("/f"));
    SAY(is_there("../f"));
    SAY(is_there("../../old"));
    SAY(is_there("../../f"));
}

static void busy_and_detached(void)
{
    int file, directory;
    SAY(mount("/", point, NULL, MS_BIND, NULL));
    SAY(chdir(in(point, "sub")));
    file = open("f", O_RDONLY);
    directory = open("x", O_RDONLY | O_DIRECTORY);
    SAY(chdir("/"));
    SAY(umount(point));
    SAY(umount2(point, MNT_DETACH));
    show(file);
    SAY(faccessat(directory, "y", R_OK, 0));
    SAY(flock(file, LOCK_EX | LOCK_NB));
    SAY(fchdir(directory));
    SAY(is_there("../f"));
    SAY(is_there("../../../../../../../../etc"));
}

static void covered(void)
{
    int outer = open("sub", O_RDONLY | O_DIRECTORY), inner = open("sub/x", O_RDONLY | O_DIRECTORY), file;
    SAY(chdir("sub/x"));
    SAY(mount("none", "../../sub", "tmpfs", 0, NULL));
    SAY(is_there(in("", "sub/f")));
    SAY(is_there("y"));
    SAY(is_there("../f"));
    SAY(is_there("../../sub/f"));
    SAY(faccessat(outer, "f", R_OK, 0));
    SAY(faccessat(inner, "../f", R_OK, 0));
    SAY(umount2(in("", "sub"), MNT_DETACH));
    SAY(is_there("../f"));
    SAY(is_there(in("", "sub/f")));
    SAY(chdir(folder));
    file = open("sub/f", O_RDONLY);
    SAY(mount("sub/g", "sub/f", NULL, MS_BIND, NULL));
    SAY(size_of("sub/f"));
    show(file);
    show(open("sub/f", O_RDONLY));
}

static void root_left_behind(void)
{
    int file = open("sub/f", O_RDONLY), directory = open("sub", O_RDONLY | O_DIRECTORY);
    SAY(mount("none", point, "tmpfs", 0, NULL));
    SAY(chdir(point));
    SAY(mkdir("old", 0700));
    SAY(syscall(SYS_pivot_root, ".", "old"));
    SAY(chdir("/"));
    SAY(umount2("/old", MNT_DETACH));
    SAY(is_there(folder));
    show(file);
    SAY(flock(file, LOCK_SH));
    SAY(faccessat(directory, "f", R_OK, 0));
    SAY(faccessat(directory, "../old/inner", R_OK, 0));
    SAY(fchdir(directory));
    SAY(is_there("g"));
}

static void play(const char *name, void (*scene)(void))
{
    pid_t child;
    printf("-- %s\n", name);
    fflush(stdout);
    child = fork();
    if (child == 0) {
        SAY(unshare(CLONE_NEWNS));
        SAY(mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL));
        SAY(chdir(folder));
        scene();
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
    if (argc != 2 || !mkdtemp(point))
        return 1;
    folder = argv[1];
    play("pivot into itself", pivot_into_itself);
    play("root and directory in different mounts", root_and_directory_in_different_mounts);
    play("busy and detached", busy_and_detached);
    play("covered", covered);
    play("root left behind", root_left_behind);
    rmdir(point);
    return 0;
}
