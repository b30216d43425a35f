/* Mount namespaces that end, names that are mounted on elsewhere, and what /proc/self/mounts tells by poll. */
#include "guest.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

static char text[1 << 16];

static void told(const char *what, struct pollfd *look)
{
    int ready = poll(look, 1, 0);
    say("%s: %d %x\n", what, ready, look->revents);
}

/* By a mount without links they are there, and lead nowhere. */
static void links(void)
{
    struct stat st;
    struct statvfs there;
    CHECK(mkdir("t", 0755) == 0 && mkdir("by", 0755) == 0 && mkdir("t/d", 0755) == 0 && symlink("d", "t/l") == 0);
    CHECK(symlink("nothing", "t/n") == 0 && mount("t", "by", NULL, MS_BIND, NULL) == 0);
    TRY(stat("by/l", &st));
    CHECK(mount(NULL, "by", NULL, MS_REMOUNT | MS_BIND | 256, NULL) == 0 && statvfs("by", &there) == 0);
    say("flag %lx\n", there.f_flag & 0x2000);
    TRY(stat("by/l", &st));
    TRY(lstat("by/l", &st));
    TRY(stat("by/l/.", &st));
    TRY(open("by/l", O_RDONLY));
    TRY(open("by/n", O_WRONLY | O_CREAT, 0600));
    TRY(access("by/l", F_OK));
    TRY(readlink("by/l", text, 10));
    TRY(mkdir("by/l/x", 0700));
    TRY(stat("t/l", &st));
    CHECK(symlink("t", "u") == 0);
    TRY(stat("u/l", &st));
    CHECK(mount(NULL, "by", NULL, MS_REMOUNT | MS_BIND, NULL) == 0);
    TRY(stat("by/l", &st));
    CHECK(umount("by") == 0);
}

static void private(void)
{
    CHECK(unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
}

int main(void)
{
    int ready[2], go[2];
    char byte;
    scratch();
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        skip("needs CAP_SYS_ADMIN");
    links();
    CHECK(mkdir("a", 0755) == 0 && mkdir("b", 0755) == 0 && mkdir("c", 0755) == 0 && pipe(ready) == 0 && pipe(go) == 0);

    int table = open("/proc/self/mounts", O_RDONLY), many = epoll_create1(0);
    struct pollfd look = {.fd = table, .events = POLLIN | POLLPRI};
    struct epoll_event event = {.events = EPOLLPRI};
    CHECK(read(table, text, sizeof text) > 0 && epoll_ctl(many, EPOLL_CTL_ADD, table, &event) == 0);
    told("before", &look);
    CHECK(mount("x", "a", "tmpfs", 0, NULL) == 0);
    told("mounted", &look);
    told("again", &look);
    CHECK(mount(NULL, "a", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0 && umount("a") == 0);
    told("unmounted", &look);
    pid_t child = CHILD(nap(50); CHECK(mount("x", "a", "tmpfs", 0, NULL) == 0 && umount("a") == 0));
    say("waited %d", epoll_wait(many, &event, 1, 5000));
    say(" for %x\n", event.events);
    CHECK(reap(child) == 0);
    TRY(epoll_ctl(many, EPOLL_CTL_ADD, open("/proc/self/status", O_RDONLY), &event));

    snprintf(text, sizeof text, "/proc/self/fd/%d", open("/proc/self/exe", O_RDONLY));
    int link = open(text, O_PATH | O_NOFOLLOW);
    snprintf(text, sizeof text, "/proc/self/fd/%d", link);
    TRY(mount("/dev/null", text, NULL, MS_BIND, NULL));
    child = CHILD(private(); CHECK(mount("x", "a", "tmpfs", 0, NULL) == 0));
    CHECK(reap(child) == 0);
    TRY(rmdir("a"));

    child = CHILD(private(); CHECK(mount("x", "b", "tmpfs", 0, NULL) == 0 && mount("x", "c", "tmpfs", 0, NULL) == 0);
                  TRY(rmdir("b")); TRY(rename("b", "d")); CHECK(write(ready[1], "x", 1) == 1 && read(go[0], &byte, 1) == 1);
                  TRY(access("b", F_OK)); TRY(rmdir("d")));
    CHECK(read(ready[0], &byte, 1) == 1);
    TRY(rmdir("b"));
    TRY(rename("c", "d"));
    CHECK(write(go[1], "x", 1) == 1 && reap(child) == 0);
    TRY(rmdir("d"));
    return done();
}
