/* Holes and reserved space of files in memory: lseek(SEEK_DATA, SEEK_HOLE), fallocate, what a full file system owes. */
#include "guest.h"
#include <sys/mount.h>
#include <sys/statvfs.h>

static char page[4096], lots[64 * 4096];
static int fd;

/* Where data is, in pages (a position inside of one is shown after a colon). */
static void map(const char *what)
{
    off_t at = 0, size = lseek(fd, 0, SEEK_END);
    say("%s: size %ld:", what, (long)size);
    while (at < size && (at = lseek(fd, at, SEEK_DATA)) >= 0) {
        off_t end = lseek(fd, at, SEEK_HOLE);
        say(" %ld:%ld-%ld:%ld", (long)at / 4096, (long)at % 4096, (long)end / 4096, (long)end % 4096);
        at = end;
    }
    say("\n");
}

static void put(off_t at, size_t size)
{
    CHECK(pwrite(fd, lots, size, at) == (ssize_t)size);
}

static void holes(off_t far)
{
    struct stat st;
    CHECK((fd = open("f", O_RDWR | O_CREAT | O_TRUNC, 0600)) >= 0 && ftruncate(fd, far) == 0);
    map("nothing");
    TRY(lseek(fd, 0, SEEK_DATA));
    TRY(lseek(fd, 100, SEEK_HOLE));
    put(3 * 4096 + 100, 10), put(6 * 4096 - 1, 2);
    map("written");
    TRY(lseek(fd, 3 * 4096 + 200, SEEK_DATA));
    TRY(lseek(fd, 4 * 4096 + 200, SEEK_HOLE));
    CHECK(ftruncate(fd, 5 * 4096) == 0 && ftruncate(fd, 7 * 4096 + 5) == 0);
    map("cut and grown");
    put(7 * 4096, 2);
    map("at the end");
    put(0, 3 * 4096);
    TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 2 * 4096));
    map("punched");
    CHECK(pread(fd, page, 4096, 0) == 4096);
    CHECK(fstat(fd, &st) == 0);
    say("kept %d, gone %d, blocks %ld\n", page[99], page[100], (long)st.st_blocks);
    TRY(fallocate(fd, 0, 4 * 4096, 5 * 4096));
    say("size %ld\n", (long)lseek(fd, 0, SEEK_END));
    TRY(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 20 * 4096));
    CHECK(fstat(fd, &st) == 0);
    say("size %ld, %d\n", (long)st.st_size, st.st_blocks >= 20 * 8);
    TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096));
    TRY(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 0));
    close(fd);
}

int main(void)
{
    memset(lots, 7, sizeof lots);
    scratch();
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        skip("needs CAP_SYS_ADMIN");
    CHECK(mkdir("m", 0700) == 0 && mount("none", "m", "tmpfs", 0, "size=2m") == 0 && chdir("m") == 0);
    holes(8 * 4096);
    holes(100 * 4096);

    struct statvfs there;
    CHECK((fd = open("f", O_RDWR | O_CREAT | O_TRUNC, 0600)) >= 0);
    TRY(fallocate(fd, 0, 0, sizeof lots));
    TRY(fallocate(fd, FALLOC_FL_KEEP_SIZE, sizeof lots, sizeof lots));
    int other = open("other", O_RDWR | O_CREAT, 0600);
    while (write(other, page, sizeof page) > 0)
        ;
    say("full: %s\n", strerrorname_np(errno));
    TRY(fallocate(other, FALLOC_FL_KEEP_SIZE, 16 << 20, 4096));
    TRY(pwrite(fd, lots, sizeof lots, 0));
    TRY(pwrite(fd, lots, sizeof lots, sizeof lots));
    TRY(pwrite(fd, lots, 4096, 2 * sizeof lots));
    TRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 16 * 4096));
    CHECK(fstatvfs(fd, &there) == 0);
    say("free %lu\n", (unsigned long)there.f_bfree);
    CHECK(lseek(other, 0, SEEK_END) > 0);
    TRY(write(other, lots, 16 * 4096));
    TRY(pwrite(fd, lots, 4096, 0));
    CHECK(chdir("/") == 0);
    return done();
}
