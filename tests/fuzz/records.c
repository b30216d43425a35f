/* Packed listings and paths, as guests and the gofer give them. */

#include "check.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "host.cdef.h"
#include "path.h"

/* Whole records of a real listing, then changed here and there, in a buffer that ends where the data does. */
static void
listings(int fd)
{
    static uint8_t original[4096];
    uint64_t cookie = 0;
    int32_t end;
    int64_t size = pysc_list(fd, 0, 1, original, sizeof original, &cookie, &end);
    CHECK(size > 0 && pysc_check_listing(original, (uint64_t)size) > 0);
    for (int round = 0; round < 200000; round++) {
        uint64_t length = next() % 4 ? (uint64_t)size : next() % ((uint64_t)size + 1);
        uint8_t *copy = malloc(length ? length : 1);
        memcpy(copy, original, length);
        for (uint64_t changes = next() % 6; changes && length; changes--)
            copy[next() % length] = (uint8_t)next();
        pysc_check_listing(copy, length);
        free(copy);
    }
}

/* Every size of buffer: nothing is written behind it. */
static void
sizes(int fd)
{
    for (uint64_t size = 0; size < 1200; size++) {
        uint8_t *out = malloc(size ? size : 1);
        uint64_t cookie = next() % 3 ? 0 : next() >> (next() % 64);
        int32_t end;
        pysc_list(fd, cookie, (int32_t)(next() & 1), out, size, &cookie, &end);
        free(out);
    }
}

static void
paths(int fd)
{
    static const char letters[] = "ab./\0\xff";
    struct pysc_attributes found[8];
    int32_t error;
    for (int round = 0; round < 20000; round++) {
        uint64_t length = next() % 20 ? next() % 40 : next() % 40000;
        char *path = malloc(length + 1);
        for (uint64_t i = 0; i < length; i++)
            path[i] = letters[next() % (next() % 10 ? 2 : 6)];
        for (uint64_t i = 200; i < length; i += 200)
            path[i] = '/';
        path[length] = 0;
        pysc_statx(fd, path, length, found);
        pysc_walk(fd, path, length, length ? next() % length : 0, found, 8, &error);
        int opened = pysc_open_beneath(fd, path, length, O_PATH, 0);
        if (opened >= 0)
            close(opened);
        opened = pysc_open_read(fd, path, length, O_NONBLOCK);
        if (opened >= 0)
            close(opened);
        free(path);
    }
}

int
main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    int fd = open(argv[1], O_RDONLY | O_DIRECTORY);
    listings(fd);
    sizes(fd);
    paths(fd);
    close(fd);
    puts("done");
    return 0;
}
