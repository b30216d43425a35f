/* mremap(2) while there are images.  What is one mapping to the guest may be several to the host, images and what has
 * become of some of their pages, so it is moved piece by piece. */

#include "guest.h"

#include <linux/mman.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#define MOVES (MREMAP_MAYMOVE | MREMAP_FIXED)

struct move {
    uint64_t from, to, size, done;
    uint64_t growth; /* of the last piece, if that is no image */
    uint64_t flags;
};

static struct image *
image_at(struct space *space, uint64_t address)
{
    struct image *image = next_image(space, address);

    return image != space->images + space->n_images && image->start <= address ? image : 0;
}

/* Move what the host has as one mapping, or less; how much that was, or -errno. */
static long
move_part(uint64_t from, uint64_t size, uint64_t grown, uint64_t flags, uint64_t to)
{
    long result;

    while ((result = host(__NR_mremap, from, size, grown, flags, to)) == -EFAULT && size > PAGE)
        grown = size = page_up(size / 2);
    return result < 0 ? result : (long)size;
}

/* The next part of a move; the table follows. */
static long
move_next(struct space *space, struct move *move)
{
    const uint64_t at = move->from + move->done, to = move->to + move->done, end = move->from + move->size;
    const struct image *next = next_image(space, at), *image = image_at(space, at);
    uint64_t last = end, traits = image ? image->traits : 0;
    long part;

    if (image)
        last = image->end < end ? image->end : end;
    else if (next != space->images + space->n_images && next->start < end)
        last = next->start;
    part = move_part(at, last - at, last - at + (last == end ? move->growth : 0), move->flags, to);
    if (part < 0)
        return part;
    if (image) {
        cut_images(space, at, at + (uint64_t)part);
        add_image(space, to, to + (uint64_t)part, traits);
    }
    move->done += (uint64_t)part;
    if (image && (move->flags & MREMAP_DONTUNMAP)) {
        add_image(space, at, at + (uint64_t)part, traits | IMAGE_DROPPED);
        if (!(traits & IMAGE_DROPPED))
            return make_anonymous(at, at + (uint64_t)part, traits, MAP_FIXED);
    }
    return part;
}

/* All or nothing: back to where it was, since nobody else maps anything meanwhile. */
static long
move_all(struct space *space, struct move *move)
{
    long result = 0;

    while (result >= 0 && move->done < move->size)
        result = move_next(space, move);
    if (result < 0) {
        struct move back = {.from = move->to, .to = move->from, .size = move->done, .flags = MOVES};

        while (back.done < back.size) {
            if (move_next(space, &back) < 0)
                die();
        }
    }
    return result;
}

/* Whether the range is one to the guest, as far as that is known: all mapped, its images alike. */
static int
is_one(struct space *space, uint64_t start, uint64_t end)
{
    const struct image *first = next_image(space, start);

    for (const struct image *image = first; image != space->images + space->n_images && image->start < end; image++) {
        if ((image->traits ^ first->traits) & ~(uint64_t)IMAGE_DROPPED)
            return 0;
    }
    return host(__NR_madvise, start, end - start, MADV_NORMAL) == 0;
}

/* Grow where it is: zero pages behind it, with its traits.  ENOMEM: there is no place. */
static long
grow(struct space *space, uint64_t end, uint64_t growth)
{
    const struct image *last = image_at(space, end - 1);
    const uint64_t traits = last ? last->traits | IMAGE_DROPPED : 0;
    long result;

    if (!last)
        return host(__NR_mremap, end - PAGE, PAGE, PAGE + growth, 0, 0);
    if (!has_room(space, 1))
        return -ENOMEM;
    result = make_anonymous(end, end + growth, traits, MAP_FIXED_NOREPLACE);
    if (result > 0)
        add_image(space, end, end + growth, traits);
    return result == -EEXIST ? -ENOMEM : result;
}

static uint32_t
count_images(struct space *space, uint64_t start, uint64_t end)
{
    const struct image *image = next_image(space, start);
    uint32_t count = 0;

    while (image + count != space->images + space->n_images && image[count].start < end)
        count++;
    return count;
}

static long
unmap(struct space *space, uint64_t start, uint64_t end)
{
    long result = host(__NR_munmap, start, end - start);

    if (result == 0)
        cut_images(space, start, end);
    return result;
}

/* What is left need not be one, as long as there is something where it begins. */
static long
shrink(struct space *space, uint64_t start, uint64_t new_end, uint64_t end)
{
    long result = 0;

    if (!is_one(space, start, start + PAGE))
        return -EFAULT;
    if (new_end < end)
        result = has_room(space, more_by_cut(space, new_end, end)) ? unmap(space, new_end, end) : -ENOMEM;
    return result < 0 ? result : (long)start;
}

/* To where the host finds room, or to what is replaced there.  Returns the new address. */
static long
move_away(struct space *space, uint64_t from, uint64_t size, uint64_t new_size, uint64_t flags, uint64_t to)
{
    struct move move = {.from = from, .size = size < new_size ? size : new_size, .flags = MOVES};
    const struct image *last = image_at(space, from + move.size - 1);
    const uint64_t traits = last ? last->traits : 0;
    long place, result;

    if (!is_one(space, from, from + move.size))
        return -EFAULT;
    if (!has_room(space, 2 * count_images(space, from, from + size) + 5)) /* with what is left behind, and grown */
        return -ENOMEM;
    if (size > new_size && (result = unmap(space, from + new_size, from + size)) != 0)
        return result;
    place = make_anonymous(to, to + new_size, traits, flags & MREMAP_FIXED ? MAP_FIXED : 0);
    if (place < 0) {
        if (flags & MREMAP_FIXED)
            forget_lost(space, to, to + new_size);
        return place;
    }
    move.to = (uint64_t)place;
    move.flags |= flags & MREMAP_DONTUNMAP;
    move.growth = !last && new_size > size ? new_size - size : 0;
    cut_images(space, move.to, move.to + new_size);
    result = move_all(space, &move);
    if (result < 0) {
        unmap(space, move.to, move.to + new_size);
        return result;
    }
    if (last && new_size > size)
        add_image(space, move.to + size, move.to + new_size, traits | IMAGE_DROPPED);
    return place;
}

/* Whether it is said where to, and how, in a way that there is. */
static int
is_sound(const uint64_t *a, uint64_t size, uint64_t new_size, uint64_t to)
{
    const uint64_t flags = a[3], moves = flags & (MREMAP_FIXED | MREMAP_DONTUNMAP);

    if (moves && !(flags & MREMAP_MAYMOVE))
        return 0;
    if ((flags & MREMAP_DONTUNMAP) && size != new_size)
        return 0;
    if (!moves)
        return 1;
    if ((to & (PAGE - 1)) || new_size > PYSC_TASK_SIZE || to > PYSC_TASK_SIZE - new_size)
        return 0;
    return to >= a[0] + size || a[0] >= to + new_size;
}

/* Pages of which none is an image's. */
static long
remap_others(struct space *space, const uint64_t *a, uint64_t new_size, uint64_t to)
{
    long result;

    if (!(a[3] & MREMAP_FIXED))
        return host6(__NR_mremap, a[0], a[1], a[2], a[3], to, 0);
    if (!has_room(space, more_by_cut(space, to, to + new_size)))
        return -ENOMEM;
    result = host6(__NR_mremap, a[0], a[1], a[2], a[3], to, 0);
    if (result > 0)
        cut_images(space, to, to + new_size);
    else
        forget_lost(space, to, to + new_size);
    return result;
}

long
remap_images(struct space *space, const uint64_t *a, uint64_t to)
{
    const uint64_t from = a[0], size = page_up(a[1]), new_size = page_up(a[2]), end = from + size, flags = a[3];
    long result;

    if ((from & (PAGE - 1)) || end <= from || !new_size)
        return host6(__NR_mremap, a[0], a[1], a[2], flags, to, 0); /* it refuses */
    if (!count_images(space, from, end))
        return remap_others(space, a, new_size, to);
    if (!is_sound(a, size, new_size, to))
        return -EINVAL;
    if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))
        return move_away(space, from, size, new_size, flags, to);
    if (new_size <= size)
        return shrink(space, from, from + new_size, end);
    if (!is_one(space, from, end))
        return -EFAULT;
    result = grow(space, end, new_size - size);
    if (result == -ENOMEM && (flags & MREMAP_MAYMOVE))
        return move_away(space, from, size, new_size, flags, 0);
    return result < 0 ? result : (long)from;
}
