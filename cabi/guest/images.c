/* The table of images: which ranges of the guest's memory come from an image and so are not anonymous, as they look, and
 * which did.
 *
 * It is this process's own; a child of a fork has its parent's.  Ranges are sorted, do not overlap, and two that touch
 * differ in their traits: protection, and what a fork does to them.  The host may keep one range as several mappings. */

#include "guest.h"

/* The first that ends behind an address; past the last: there is none. */
struct image *
next_image(struct space *space, uint64_t address)
{
    uint32_t first = 0, last = space->n_images;

    while (first < last) {
        uint32_t middle = first + (last - first) / 2;

        if (space->images[middle].end > address)
            last = middle;
        else
            first = middle + 1;
    }
    return &space->images[first];
}

static struct image *
end_of_images(struct space *space)
{
    return &space->images[space->n_images];
}

int
has_room(const struct space *space, uint32_t images)
{
    return space->n_images + images <= PYSC_IMAGES;
}

/* The one that has an address in its midst, or NULL. */
static struct image *
image_around(struct space *space, uint64_t address)
{
    struct image *image = next_image(space, address);

    return image < end_of_images(space) && image->start < address ? image : 0;
}

/* How many more there are, at most, once none lies between two addresses. */
uint32_t
more_by_cut(struct space *space, uint64_t start, uint64_t end)
{
    const struct image *image = image_around(space, start);

    return image && image == image_around(space, end);
}

/* The same once what lies there has other traits. */
uint32_t
more_by_change(struct space *space, uint64_t start, uint64_t end)
{
    return (image_around(space, start) != 0) + (image_around(space, end) != 0);
}

static void
move_images(struct image *to, const struct image *from, size_t count)
{
    if (to < from) {
        for (size_t i = 0; i < count; i++)
            to[i] = from[i];
    } else {
        for (size_t i = count; i-- > 0;)
            to[i] = from[i];
    }
}

static void
insert_image(struct space *space, struct image *at, struct image image)
{
    move_images(at + 1, at, (size_t)(end_of_images(space) - at));
    *at = image;
    space->n_images++;
}

static void
remove_images(struct space *space, struct image *first, struct image *end)
{
    move_images(first, end, (size_t)(end_of_images(space) - end));
    space->n_images -= (uint32_t)(end - first);
}

static void
split_image(struct space *space, uint64_t address)
{
    struct image *image = image_around(space, address);

    if (!image)
        return;
    insert_image(space, image, *image);
    image[0].end = image[1].start = address;
}

/* Forget what lies between two addresses. */
void
cut_images(struct space *space, uint64_t start, uint64_t end)
{
    split_image(space, start);
    split_image(space, end);
    remove_images(space, next_image(space, start), next_image(space, end));
}

/* Make one of two that touch and are alike. */
static void
join_images(struct space *space, uint64_t address)
{
    struct image *image = next_image(space, address - 1);

    if (image + 1 >= end_of_images(space) || image->end != address || image[1].start != address ||
        image->traits != image[1].traits)
        return;
    image->end = image[1].end;
    remove_images(space, image + 1, image + 2);
}

/* Note one, instead of what the table has there. */
void
add_image(struct space *space, uint64_t start, uint64_t end, uint64_t traits)
{
    cut_images(space, start, end);
    insert_image(space, next_image(space, start), (struct image){.start = start, .traits = traits & 0xffff, .end = end});
    join_images(space, end);
    join_images(space, start);
}
