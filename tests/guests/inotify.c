/* inotify: what is told of reading and listing, of links that go while files stay, of names that are swapped. */
#include "guest.h"
#include <dirent.h>
#include <sys/inotify.h>
#include <sys/sendfile.h>

static const char *NAMES[] = {"ACCESS", "MODIFY", "ATTRIB", "CLOSE_WRITE", "CLOSE_NOWRITE", "OPEN", "MOVED_FROM",
                              "MOVED_TO", "CREATE", "DELETE", "DELETE_SELF", "MOVE_SELF"};
static int watcher;

static void told(const char *after)
{
    char buffer[4096] __attribute__((aligned(8)));
    ssize_t size = read(watcher, buffer, sizeof buffer), at = 0;
    say("%s:", after);
    while (at < size) {
        struct inotify_event *event = (struct inotify_event *)(buffer + at);
        say(" %d", event->wd);
        for (int i = 0; i < COUNT(NAMES); i++)
            if (event->mask & 1U << i)
                say("/%s", NAMES[i]);
        say("%s%s%s%s", event->mask & IN_IGNORED ? "/IGNORED" : "", event->mask & IN_ISDIR ? "/ISDIR" : "",
            event->len ? "=" : "", event->len ? event->name : "");
        at += (ssize_t)sizeof *event + event->len;
    }
    say("\n");
}

static void watch(const char *path, uint32_t mask)
{
    CHECK(inotify_add_watch(watcher, path, mask) > 0);
}

static void put(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    CHECK(fd >= 0 && write(fd, "text", 4) == 4 && close(fd) == 0);
}

int main(void)
{
    char buffer[100], line[200];
    unsigned mask = 0;
    scratch();
    put("a");
    CHECK((watcher = inotify_init1(IN_NONBLOCK)) >= 0);
    watch("a", IN_ALL_EVENTS);
    int fd = open("a", O_RDWR), out = open("out", O_RDWR | O_CREAT, 0600), end[2];
    CHECK(read(fd, buffer, 2) == 2 && write(fd, "x", 1) == 1 && pread(fd, buffer, 1, 0) == 1);
    told("read, write, pread");
    CHECK(read(fd, buffer, 100) == 1 && read(fd, buffer, 100) == 0);
    told("to the end");
    CHECK(read(fd, buffer, 100) == 0);
    told("at the end");
    CHECK(sendfile(out, fd, &(off_t){0}, 4) == 4 && pipe(end) == 0);
    CHECK(splice(fd, &(loff_t){0}, end[1], NULL, 4, 0) == 4);
    told("sendfile, splice");
    CHECK(splice(end[0], NULL, fd, &(loff_t){0}, 4, 0) == 4);
    told("splice to it");
    CHECK(link("a", "b") == 0);
    told("link");
    CHECK(unlink("b") == 0);
    told("unlink of one of two");
    CHECK(unlink("a") == 0);
    told("unlink while open");
    close(fd);
    told("close");

    CHECK(mkdir("d", 0755) == 0);
    put("d/f");
    watch("d", IN_ALL_EVENTS);
    struct dirent **names;
    CHECK(scandir("d", &names, NULL, alphasort) == 3);
    told("listing");
    CHECK(unlink("d/f") == 0 && mkfifo("d/p", 0600) == 0);
    told("unlink, mkfifo");
    fd = open("d/p", O_RDWR);
    close(fd); /* whether reading one is told depends on the kernel's age */
    told("a FIFO");
    fd = open("d/p", O_PATH);
    close(fd);
    told("O_PATH");
    CHECK(unlink("d/p") == 0 && rmdir("d") == 0);
    told("rmdir");

    put("a"), put("b"), put("c");
    watch("a", IN_ALL_EVENTS), watch("b", IN_ALL_EVENTS), watch("c", IN_ALL_EVENTS);
    watch(".", IN_MOVE);
    CHECK(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", 2) == 0);
    told("exchange");
    CHECK(rename("a", "b") == 0);
    told("rename over");
    CHECK(link("c", "c2") == 0 && rename("b", "c") == 0);
    told("rename over one of two");
    close(watcher);

    CHECK((watcher = inotify_init1(IN_NONBLOCK)) >= 0);
    watch(".", IN_MODIFY | IN_EXCL_UNLINK);
    snprintf(line, sizeof line, "/proc/self/fdinfo/%d", watcher);
    FILE *info = fopen(line, "r");
    while (fgets(line, sizeof line, info))
        sscanf(line, "inotify wd:%*x ino:%*x sdev:%*x mask:%x", &mask);
    say("mask %x\n", mask);
    fd = open("c2", O_RDWR);
    CHECK(write(fd, "x", 1) == 1);
    told("write");
    CHECK(unlink("c2") == 0 && write(fd, "x", 1) == 1);
    told("write without a name");
    watch(".", IN_MODIFY | IN_ONESHOT);
    CHECK(write(fd, "x", 1) == 1 && write(fd, "x", 1) == 1);
    told("once");
    return done();
}
