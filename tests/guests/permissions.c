/* Permissions as an ordinary user sees them: modes, sticky and set-id bits, ownership, capabilities of root. */
#include "guest.h"
#include <grp.h>

static void become(int uid) { CHECK(setgroups(0, NULL) == 0 && setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0); }

static void put(const char *path, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, "text", 4) == 4 && fchmod(fd, mode) == 0 && close(fd) == 0);
}

static void mode_of(const char *path)
{
    struct stat st;
    CHECK(lstat(path, &st) == 0);
    say("%s: %o owner %d:%d\n", path, st.st_mode & 07777, st.st_uid, st.st_gid);
}

int main(void)
{
    if (geteuid() != 0)
        skip("needs root");
    scratch();
    umask(0);
    mkdir("private", 0700), put("private/f", 0666), mkdir("blind", 0333), mkdir("sticky", 01777), mkdir("group", 02775);
    put("readable", 0604), put("writable", 0602), put("nothing", 0000), put("run", 0711);
    CHECK(chown("group", 0, 1000) == 0 && chmod("group", 02775) == 0);
    put("owned", 06755);
    TRY(open("nothing", O_RDWR) >= 0 ? 0 : -1);
    TRY(access("nothing", R_OK | W_OK));
    TRY(access("nothing", X_OK));
    pid_t child = CHILD(
        become(1000); put("sticky/mine", 0644); TRY(open("private/f", O_RDONLY)); TRY(open("readable", O_WRONLY));
        TRY(close(open("readable", O_RDONLY))); TRY(open("writable", O_RDONLY)); TRY(open("nothing", O_RDONLY));
        TRY(open("blind", O_RDONLY)); put("blind/f", 0600); TRY(close(open("blind/f", O_RDONLY))); TRY(chmod("readable", 0777));
        TRY(chown("sticky/mine", 0, 0)); TRY(chown("sticky/mine", -1, 1000)); TRY(unlink("readable")); TRY(mkdir("x", 0700));
        TRY(access("readable", R_OK)); TRY(access("readable", W_OK)); TRY(access("run", X_OK)); TRY(execl("writable", "x", NULL));
        put("group/f", 0644); mkdir("group/d", 0755); TRY(utimensat(AT_FDCWD, "readable", NULL, 0)); TRY(truncate("readable", 0));
        TRY(rename("sticky/mine", "sticky/renamed")); TRY(setuid(0)); TRY(kill(getppid(), 0));
        TRY(mknod("sticky/dev", S_IFCHR | 0600, 0x103)); TRY(chroot(".")); TRY(sethostname("x", 1)); TRY(setgid(5)));
    CHECK(reap(child) == 0);
    child = CHILD(become(1001); TRY(unlink("sticky/renamed")); TRY(rename("sticky/renamed", "sticky/x")));
    CHECK(reap(child) == 0);
    mode_of("group/f"), mode_of("group/d"), mode_of("owned");
    TRY(chown("owned", 1000, 1000));
    mode_of("owned");
    put("setid", 06777);
    chown("setid", 1000, 1000), chmod("setid", 06777);
    child = CHILD(become(1001); int fd = open("setid", O_WRONLY); CHECK(write(fd, "x", 1) == 1));
    reap(child);
    mode_of("setid");
    mkdir("others", 0777);
    CHECK(chown("others", 0, 1001) == 0 && chmod("others", 02777) == 0);
    child = CHILD(
        become(1000); close(creat("others/f", 02777)); umask(010); close(creat("others/g", 02777));
        mkdir("others/d", 0777); mkfifo("others/p", 02777); mknod("others/n", 02777, 0); symlink("x", "others/l"));
    CHECK(reap(child) == 0);
    mode_of("others/f"), mode_of("others/g"), mode_of("others/d"), mode_of("others/p"), mode_of("others/n"), mode_of("others/l");
    umask(077);
    mkdir("umasked", 0777);
    mode_of("umasked");
    CHECK(chmod("sticky/renamed", 02644) == 0);
    mode_of("sticky/renamed");
    return done();
}
