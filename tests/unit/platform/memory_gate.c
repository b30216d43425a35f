/* The gate of memory calls, on real memory of this process, where a call of the host's fails; and its table, when full. */
#include "../../fuzz/check.h"
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#define host6 untried_host6
#include "guest.h"
#undef host6

static int calls, fails_at, does_some, is_fake;

/* What `fails_at` says fails with ENOMEM; what was to be replaced may be gone by then, or a part protected. */
static long
host6(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
    if (++calls == fails_at) {
        if (does_some && nr == __NR_mprotect)
            untried_host6(__NR_mprotect, a, PAGE, c, 0, 0, 0);
        else if (does_some)
            untried_host6(__NR_munmap, nr == __NR_mremap ? e : a, b, 0, 0, 0, 0);
        return -ENOMEM;
    }
    return is_fake ? (nr == __NR_mmap ? (long)a : 0) : untried_host6(nr, a, b, c, d, e, f);
}

#include "gate.c"
#include "images.c"
#include "remap.c"

#define PAGES 64
#define AT 0x200000000000UL
#define PLACE(page) (AT + (page) * PAGE)

int forget_text(struct space *space, uint64_t start, uint64_t length) { return !space && start == length; }
void move_sites(struct space *space, uint64_t start, uint64_t length, uint64_t by) { CHECK(space && start && length && by); }
void take_lock(uint32_t *lock) { CHECK(!(*lock)++); }
void give_lock(uint32_t *lock) { CHECK(!--(*lock)); }
void die(void) { abort(); }

uint64_t
zero_bytes(void *to, uint64_t size)
{
    memset(to, 0, size);
    return 0;
}

static struct space *space;
static int file;

static long
call(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
    calls = 0;
    return memory_call(space, nr, (uint64_t[6]){a, b, c, d, e, 0});
}

static void
check_table(void)
{
    CHECK(space->n_images <= PYSC_IMAGES && !space->image_lock);
    for (uint32_t i = 0; i < space->n_images; i++) {
        const struct image *image = &space->images[i];

        CHECK(image->start < image->end && !(image->start % PAGE) && !(image->end % PAGE));
        CHECK(!i || image[-1].end < image->start || (image[-1].end == image->start && image[-1].traits != image->traits));
    }
}

/* The table against one entry for each page: its traits, or -1. */
static void
check_ranges(void)
{
    int pages[PAGES];

    space->n_images = 0;
    memset(pages, -1, sizeof pages);
    for (int step = 0; step < 20000; step++) {
        uint64_t random = next(), start = random % PAGES, end = start + 1 + (random >> 8) % (PAGES - start);
        int traits = (int)(random >> 33) % 4 - 1;
        uint32_t before = space->n_images, more;

        more = traits < 0 ? more_by_cut(space, PLACE(start), PLACE(end)) : 1 + more_by_change(space, PLACE(start), PLACE(end));
        if (traits < 0)
            cut_images(space, PLACE(start), PLACE(end));
        else
            add_image(space, PLACE(start), PLACE(end), (uint64_t)traits);
        CHECK(space->n_images <= before + more);
        for (uint64_t page = start; page < end; page++)
            pages[page] = traits;
        for (uint64_t page = 0; page < PAGES; page++) {
            const struct image *image = image_at(space, PLACE(page) + random % PAGE);

            CHECK(image ? pages[page] == image->traits : pages[page] == -1);
        }
        check_table();
    }
}

/* A page's number and 1 in its first byte, as far as it comes from the image; page 4 does not any more, 30 never did. */
static void
begin(void)
{
    space->n_images = 0;
    fails_at = 0;
    munmap((void *)AT, PAGES * PAGE);
    CHECK(map_image(space, (uint64_t[6]){AT, 12 * PAGE, 3, MAP_PRIVATE | MAP_FIXED, (uint64_t)file, 0}) == (long)AT);
    CHECK(call(__NR_madvise, PLACE(4), PAGE, MADV_DONTNEED, 0, 0) == 0);
    *(char *)PLACE(4) = 99;
    CHECK(call(__NR_mmap, PLACE(30), PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, (uint64_t)-1) == (long)PLACE(30));
}

static void
look(char *seen)
{
    for (uint64_t page = 0; page < PAGES; page++) {
        seen[page] = -1;
        if (untried_host6(__NR_madvise, PLACE(page), PAGE, MADV_NORMAL, 0, 0, 0) == 0)
            seen[page] = *(char *)PLACE(page);
    }
}

/* Each call of the host's that it makes fails once.  What could not be done has changed nothing, if it is one thing to be
 * done, and what is there behaves as before. */
static void
check_failures(int is_one, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
    int made, at = 0;

    do {
        long result;
        char before[PAGES], after[PAGES];

        begin();
        look(before);
        fails_at = ++at;
        result = call(nr, a, b, c, d, e);
        made = calls;
        CHECK(result >= 0 || result == -ENOMEM || result == -EFAULT);
        fails_at = 0;
        look(after);
        check_table();
        if (result < 0 && is_one)
            CHECK(memcmp(before, after, sizeof before) == 0);
        call(__NR_madvise, AT, PAGES * PAGE, MADV_DONTNEED, 0, 0);
        look(after);
        for (int page = 0; page < PAGES; page++)
            CHECK(after[page] == -1 || after[page] == 0);
        if (result > 0 && (uint64_t)result - AT >= PAGES * PAGE)
            CHECK(call(__NR_munmap, (uint64_t)result, c, 0, 0, 0) == 0);
        for (uint32_t i = 0; i < space->n_images; i++)
            CHECK(space->images[i].traits & IMAGE_DROPPED);
    } while (made >= at);
}

/* A file that comes to where an image was lost is none. */
static void
check_lost(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, int at, uint64_t page)
{
    begin();
    fails_at = at;
    does_some = 1;
    CHECK(call(nr, a, b, c, d, e) == -ENOMEM);
    fails_at = does_some = 0;
    CHECK(call(__NR_mmap, PLACE(page), PAGE, 3, MAP_PRIVATE | MAP_FIXED_NOREPLACE, (uint64_t)file) == (long)PLACE(page));
    CHECK(*(char *)PLACE(page) == 1);
    CHECK(call(__NR_madvise, PLACE(page), PAGE, MADV_DONTNEED, 0, 0) == 0);
    CHECK(*(char *)PLACE(page) == 1);
    CHECK(call(__NR_madvise, PLACE(page + 1), PAGE, MADV_DONTNEED, 0, 0) == 0);
    CHECK(*(char *)PLACE(page + 1) == 0);
}

/* What is told to have failed has not happened. */
static void
check_protection(void)
{
    begin();
    fails_at = does_some = 1;
    CHECK(call(__NR_mprotect, PLACE(5), 4 * PAGE, PROT_READ, 0, 0) == -ENOMEM);
    fails_at = does_some = 0;
    *(volatile char *)PLACE(5) = 7;
    check_table();
}

static void
is_refused(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
    const uint32_t before = space->n_images;

    CHECK(call(nr, a, b, c, d, e) == -ENOMEM);
    CHECK(space->n_images == before);
    CHECK(calls == 0 || (nr == __NR_mremap && calls == 1)); /* it looks whether all is mapped */
    check_table();
}

static void
check_full(void)
{
    const uint64_t last = AT + 3UL * (PYSC_IMAGES + 8) * PAGE;
    char *real = (char *)PLACE(2);

    begin(); /* pages 0 to 11 are really there */
    space->n_images = 0;
    is_fake = 1;
    CHECK(map_image(space, (uint64_t[6]){AT, 4 * PAGE, 3, MAP_PRIVATE | MAP_FIXED, 0, 0}) == (long)AT);
    CHECK(map_image(space, (uint64_t[6]){PLACE(4), 4 * PAGE, 1, MAP_PRIVATE | MAP_FIXED, 0, 0}) == (long)PLACE(4));
    for (uint64_t i = 4; space->n_images < PYSC_IMAGES; i++) {
        const uint64_t place = AT + 3 * i * PAGE;

        CHECK(map_image(space, (uint64_t[6]){place, 2 * PAGE, 3, MAP_PRIVATE | MAP_FIXED, 0, 0}) == (long)place);
    }
    check_table();
    calls = 0;
    CHECK(map_image(space, (uint64_t[6]){last + PAGE, PAGE, 3, MAP_PRIVATE | MAP_FIXED, 0, 0}) == -ENOMEM && !calls);
    is_refused(__NR_munmap, PLACE(1), PAGE, 0, 0, 0);
    is_refused(__NR_mmap, PLACE(1), PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, (uint64_t)-1);
    is_refused(__NR_mprotect, PLACE(1), PAGE, 1, 0, 0);
    is_refused(__NR_madvise, PLACE(1), PAGE, MADV_WIPEONFORK, 0, 0);
    is_refused(__NR_madvise, PLACE(1), PAGE, MADV_DONTFORK, 0, 0);
    is_refused(__NR_madvise, PLACE(5), PAGE, MADV_DONTNEED, 0, 0);
    is_refused(__NR_mremap, PLACE(1), 2 * PAGE, PAGE, 0, 0);
    is_refused(__NR_mremap, PLACE(12), 2 * PAGE, 3 * PAGE, 0, 0);
    is_refused(__NR_mremap, PLACE(1), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, last);
    is_refused(__NR_mremap, last + PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, PLACE(1));
    CHECK(real[0] == 3 && real[PAGE - 1] == 3 && real[-1] == 2);
    CHECK(call(__NR_madvise, PLACE(2), PAGE, MADV_DONTNEED, 0, 0) == 0 && calls == 0);
    CHECK(real[0] == 0 && real[PAGE - 1] == 0 && real[-1] == 2 && real[PAGE] == 4);
    CHECK(call(__NR_madvise, PLACE(1), PAGE, MADV_FREE, 0, 0) == 0 && calls == 0);
    CHECK(call(__NR_madvise, PLACE(5), PAGE, MADV_FREE, 0, 0) == 0 && calls == 0);
    /* What needs no more is done. */
    CHECK(call(__NR_munmap, PLACE(3), 2 * PAGE, 0, 0, 0) == 0 && space->n_images == PYSC_IMAGES);
    CHECK(call(__NR_mprotect, PLACE(12), 2 * PAGE, 1, 0, 0) == 0 && space->n_images == PYSC_IMAGES);
    check_table();
    CHECK(call(__NR_munmap, AT, PLACE(12) - AT, 0, 0, 0) == 0 && space->n_images == PYSC_IMAGES - 2);
    is_fake = 0;
}

int
main(void)
{
    const uint64_t fixed = MREMAP_MAYMOVE | MREMAP_FIXED;

    space = mmap(NULL, sizeof *space, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    file = memfd_create("image", 0);
    for (int page = 0; page < PAGES; page++) {
        char bytes[PAGE];

        memset(bytes, page + 1, sizeof bytes);
        CHECK(write(file, bytes, sizeof bytes) == sizeof bytes);
    }
    check_ranges();
    check_failures(1, __NR_munmap, PLACE(2), 4 * PAGE, 0, 0, 0);
    check_failures(1, __NR_madvise, PLACE(6), 2 * PAGE, MADV_DONTNEED, 0, 0);
    check_failures(0, __NR_madvise, PLACE(2), 8 * PAGE, MADV_DONTNEED, 0, 0);
    check_failures(1, __NR_madvise, PLACE(2), 8 * PAGE, MADV_DONTFORK, 0, 0);
    check_failures(1, __NR_mprotect, PLACE(2), 8 * PAGE, PROT_READ, 0, 0);
    check_failures(1, __NR_mremap, PLACE(8), 4 * PAGE, 8 * PAGE, 0, 0);
    check_failures(1, __NR_mremap, PLACE(1), 8 * PAGE, 8 * PAGE, fixed, PLACE(20));
    check_failures(1, __NR_mremap, PLACE(1), 8 * PAGE, 10 * PAGE, MREMAP_MAYMOVE, 0);
    check_failures(1, __NR_mremap, PLACE(1), 4 * PAGE, 10 * PAGE, fixed, PLACE(20));
    check_failures(1, __NR_mremap, PLACE(1), 8 * PAGE, 8 * PAGE, fixed | MREMAP_DONTUNMAP, PLACE(20));
    check_lost(__NR_mmap, PLACE(2), PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, (uint64_t)-1, 1, 2);
    check_lost(__NR_madvise, PLACE(2), PAGE, MADV_DONTNEED, 0, 0, 1, 2);
    check_lost(__NR_mremap, PLACE(8), PAGE, PAGE, fixed, PLACE(2), 2, 2);
    check_lost(__NR_mremap, PLACE(30), PAGE, PAGE, fixed, PLACE(2), 1, 2);
    check_protection();
    check_full();
    puts("done");
}
