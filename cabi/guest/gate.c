/* The gate of all memory calls of the guest.  Patched text is forgotten here, and what comes from an image is made to
 * behave like the anonymous memory that it looks like.
 *
 * What such memory loses, or what it grows by, becomes anonymous: each piece by one call, so that no other thread sees a
 * hole.  While there are images, calls that map, unmap or protect come one after the other: the table is what the host
 * has.  A call for which the table has no room is ENOMEM, as one past vm.max_map_count, and has changed nothing. */

#include "guest.h"

#include <linux/mman.h>

#define PROT_ALL 7UL /* READ WRITE EXEC */
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

/* Anonymous memory with an image's traits; its address, or -errno. */
long
make_anonymous(uint64_t start, uint64_t end, uint64_t traits, uint64_t flags)
{
    const uint64_t size = end - start;
    long result = host(__NR_mmap, start, size, traits & IMAGE_PROT, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

    if (result > 0 && (traits & IMAGE_DONTFORK))
        host(__NR_madvise, result, size, MADV_DONTFORK);
    if (result > 0 && (traits & IMAGE_WIPEONFORK))
        host(__NR_madvise, result, size, MADV_WIPEONFORK);
    return result;
}

/* A call has failed that was to replace what lies there: the host may have unmapped that already. */
void
forget_lost(struct space *space, uint64_t start, uint64_t end)
{
    while (start < end) {
        const struct image *image = next_image(space, start);
        uint64_t first = start, last = end;

        if (image == space->images + space->n_images || image->start >= end)
            return;
        if (first < image->start)
            first = image->start;
        if (last > image->end)
            last = image->end;
        if (host(__NR_madvise, first, last - first, MADV_NORMAL) == -ENOMEM)
            cut_images(space, first, last);
        start = last;
    }
}

/* Whether a call is about pages, and up to where; else the host refuses it, or has nothing to do. */
static int
has_pages(uint64_t address, uint64_t size, uint64_t *end)
{
    *end = address + page_up(size);
    return !(address & (PAGE - 1)) && *end > address;
}

/* munmap, or mmap with MAP_FIXED. */
static long
replace(struct space *space, long nr, const uint64_t *a)
{
    uint64_t end;
    long result;

    if (!has_pages(a[0], a[1], &end))
        return host6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (!has_room(space, more_by_cut(space, a[0], end)))
        return -ENOMEM;
    result = host6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (result >= 0)
        cut_images(space, a[0], end);
    else
        forget_lost(space, a[0], end);
    return result;
}

/* The piece of a range that is one image, or none: its end.  `image` is a copy, with `end` 0 if there is none. */
static uint64_t
piece_at(struct space *space, uint64_t address, uint64_t end, struct image *image)
{
    const struct image *next = next_image(space, address);

    *image = (struct image){.end = 0};
    if (next == space->images + space->n_images || next->start >= end)
        return end;
    if (next->start > address)
        return next->start;
    *image = *next;
    return next->end < end ? next->end : end;
}

static long
protect(struct space *space, const uint64_t *a)
{
    const uint64_t prot = a[2];
    uint64_t end, last;
    long result = 0;

    if (!has_pages(a[0], a[1], &end) || (prot & ~PROT_ALL))
        return host6(__NR_mprotect, a[0], a[1], prot, 0, 0, 0);
    if (!has_room(space, more_by_change(space, a[0], end)))
        return -ENOMEM;
    for (uint64_t at = a[0]; at < end && result == 0; at = last) {
        struct image image;

        last = piece_at(space, at, end, &image);
        result = host(__NR_mprotect, at, last - at, prot);
        if (!image.end || (image.traits & IMAGE_PROT) == prot)
            continue;
        if (result == 0)
            add_image(space, at, last, (image.traits & ~(uint64_t)IMAGE_PROT) | prot);
        else
            host(__NR_mprotect, at, last - at, image.traits & IMAGE_PROT); /* some of it may have it already */
    }
    return result;
}

/* All is zero from now on.  Where the table has no room for what would be left around it, zeros are written there. */
static long
drop(struct space *space, uint64_t start, uint64_t end, uint64_t traits, uint32_t advice)
{
    long result;

    if (!has_room(space, more_by_change(space, start, end))) {
        if (advice == MADV_FREE)
            return 0; /* it may stay */
        return (traits & PROT_WRITE) && zero_bytes((void *)start, end - start) == 0 ? 0 : -ENOMEM;
    }
    result = make_anonymous(start, end, traits, MAP_FIXED);
    if (result < 0) {
        forget_lost(space, start, end);
        return result;
    }
    add_image(space, start, end, traits | IMAGE_DROPPED);
    return 0;
}

/* What a fork will do to an image.  The host wipes anonymous memory only: leave_images_of_parent() does it instead. */
static long
advise_fork(struct space *space, uint64_t start, uint64_t end, uint64_t traits, uint32_t advice)
{
    const uint64_t trait = advice == MADV_DONTFORK || advice == MADV_DOFORK ? IMAGE_DONTFORK : IMAGE_WIPEONFORK;
    const int is_hosts = trait == IMAGE_DONTFORK || (traits & IMAGE_DROPPED);
    long result = is_hosts ? host(__NR_madvise, start, end - start, advice) : 0;

    if (result == 0 && (advice == MADV_DONTFORK || advice == MADV_WIPEONFORK))
        add_image(space, start, end, traits | trait);
    else if (result == 0)
        add_image(space, start, end, traits & ~trait);
    return result;
}

static int
drops(uint32_t advice)
{
    return advice == MADV_DONTNEED || advice == MADV_DONTNEED_LOCKED || advice == MADV_FREE;
}

/* What works on images as it does on anonymous memory is not asked for here. */
static long
advise(struct space *space, const uint64_t *a)
{
    const uint32_t advice = (uint32_t)a[2];
    uint64_t end, last;
    long unmapped = 0;

    if (!has_pages(a[0], a[1], &end))
        return host6(__NR_madvise, a[0], a[1], a[2], 0, 0, 0);
    if (!drops(advice) && !has_room(space, more_by_change(space, a[0], end)))
        return -ENOMEM;
    for (uint64_t at = a[0]; at < end; at = last) {
        struct image image;
        long result;

        last = piece_at(space, at, end, &image);
        if (!image.end || (drops(advice) && (image.traits & IMAGE_DROPPED)))
            result = host(__NR_madvise, at, last - at, advice);
        else if (drops(advice))
            result = drop(space, at, last, image.traits, advice);
        else
            result = advise_fork(space, at, last, image.traits, advice);
        if (result == -ENOMEM && !image.end)
            unmapped = result; /* as told of holes: what lies behind them is done */
        else if (result != 0)
            return result;
    }
    return unmapped;
}

/* Whether what a call does to images is not what it does to anonymous memory, or must stand in the table. */
static int
concerns_images(long nr, const uint64_t *a)
{
    const uint32_t advice = (uint32_t)a[2];

    return nr == __NR_mmap || nr == __NR_munmap || nr == __NR_mprotect ||
           (nr == __NR_madvise && (drops(advice) || advice == MADV_DONTFORK || advice == MADV_DOFORK ||
                                   advice == MADV_WIPEONFORK || advice == MADV_KEEPONFORK));
}

static long
among_images(struct space *space, long nr, const uint64_t *a)
{
    long result;

    take_lock(&space->image_lock);
    if (nr == __NR_munmap || (nr == __NR_mmap && (a[3] & MAP_FIXED)))
        result = replace(space, nr, a);
    else if (nr == __NR_mprotect)
        result = protect(space, a);
    else if (nr == __NR_madvise)
        result = advise(space, a);
    else
        result = host6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); /* into a hole, maybe of a move that is under way */
    give_lock(&space->image_lock);
    return result;
}

static int
has_images(const struct space *space)
{
    return __atomic_load_n(&space->n_images, __ATOMIC_RELAXED) != 0;
}

static long
remap(struct space *space, const uint64_t *a)
{
    const uint64_t to = a[3] & (MREMAP_FIXED | MREMAP_DONTUNMAP) ? a[4] : 0; /* only then is there a new address */
    const int has_text = forget_text(space, a[0], a[1]);
    long result;

    forget_text(space, to, a[2]);
    if (has_images(space)) {
        take_lock(&space->image_lock);
        result = remap_images(space, a, to);
        give_lock(&space->image_lock);
    } else {
        result = host6(__NR_mremap, a[0], a[1], a[2], a[3], to, 0);
    }
    if (has_text && result > 0)
        move_sites(space, a[0], a[1], (uint64_t)result - a[0]);
    return result;
}

/* What was written to private pages is lost: a site that is half written would be torn. */
static int
drops_pages(long nr, const uint64_t *a)
{
    return nr == __NR_madvise && ((uint32_t)a[2] == MADV_DONTNEED || (uint32_t)a[2] == MADV_DONTNEED_LOCKED);
}

long
memory_call(struct space *space, long nr, const uint64_t *a)
{
    if (nr == __NR_mremap)
        return remap(space, a);
    if (nr == __NR_munmap || nr == __NR_mprotect || (nr == __NR_mmap && (a[3] & MAP_FIXED)) || drops_pages(nr, a))
        forget_text(space, a[0], a[1]);
    if (has_images(space) && concerns_images(nr, a))
        return among_images(space, nr, a);
    return host6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* mmap of an image: to the guest it is anonymous memory. */
long
map_image(struct space *space, const uint64_t *a)
{
    uint64_t end;
    long result;

    if ((a[3] & MAP_TYPE) != MAP_PRIVATE || !has_pages(a[0], a[1], &end) || (a[2] & ~PROT_ALL))
        return -EINVAL;
    if (a[3] & MAP_FIXED)
        forget_text(space, a[0], a[1]);
    take_lock(&space->image_lock);
    if (!has_room(space, 1 + more_by_change(space, a[0], end)))
        result = -ENOMEM;
    else if ((result = host6(__NR_mmap, a[0], a[1], a[2], a[3], a[4], a[5])) > 0)
        add_image(space, (uint64_t)result, (uint64_t)result + (end - a[0]), a[2]);
    else
        forget_lost(space, a[0], end);
    give_lock(&space->image_lock);
    return result;
}

/* In the child of a fork, before anything else runs there. */
void
leave_images_of_parent(struct space *space)
{
    space->image_lock = 0;
    for (uint32_t i = 0; i < space->n_images;) {
        const struct image image = space->images[i];

        if (image.traits & IMAGE_DONTFORK) {
            cut_images(space, image.start, image.end);
            continue;
        }
        if ((image.traits & IMAGE_WIPEONFORK) && !(image.traits & IMAGE_DROPPED)) {
            if (make_anonymous(image.start, image.end, image.traits, MAP_FIXED) < 0)
                die();
            space->images[i].traits |= IMAGE_DROPPED;
        }
        i++;
    }
}
