/* Listings of directories as packed records. */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "attributes.h"

#define PADDED(n) (((n) + 7) & ~(uint64_t)7)

struct dirent_of_kernel {
    uint64_t ino;
    int64_t off;
    uint16_t reclen;
    uint8_t type;
    char name[];
};

struct output {
    uint8_t *data;
    uint64_t size, used;
};

static int
is_dot(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Append one record.  1: done; 0: it does not fit; entries that vanish meanwhile are left out. */
static int
append(struct output *output, int fd, const struct dirent_of_kernel *dirent, int with_attributes)
{
    size_t name_length = strlen(dirent->name);
    if (name_length > NAME_MAX)
        return 1; /* no Linux file system has such names */
    uint64_t attributes_size = with_attributes ? sizeof(struct pysc_attributes) : 0;
    uint64_t size = PADDED(sizeof(struct pysc_entry) + attributes_size + name_length);
    if (size > output->size - output->used)
        return 0;
    uint8_t *record = output->data + output->used;
    struct pysc_entry entry = {
        .ino = dirent->ino,
        .cookie = (uint64_t)dirent->off,
        .size = (uint16_t)size,
        .type = dirent->type,
        .name_length = (uint8_t)name_length,
        .has_attributes = with_attributes != 0,
    };
    memset(record, 0, size);
    if (with_attributes) {
        struct pysc_attributes attributes;
        int error = pysc_attributes_of(fd, dirent->name, &attributes);
        if (error)
            return error == -ENOENT ? 1 : error;
        memcpy(record + sizeof entry, &attributes, sizeof attributes);
    }
    memcpy(record, &entry, sizeof entry);
    memcpy(record + sizeof entry + attributes_size, dirent->name, name_length);
    output->used += size;
    return 1;
}

int64_t
pysc_list(int32_t fd, uint64_t cookie, int32_t with_attributes, void *out, uint64_t size, uint64_t *next, int32_t *end)
{
    _Alignas(8) char buffer[16384];
    struct output output = {.data = out, .size = size};
    *next = cookie;
    *end = 0;
    if (cookie > INT64_MAX)
        return -EINVAL;
    if (lseek(fd, (off_t)cookie, SEEK_SET) < 0)
        return -errno;
    for (;;) {
        long got = syscall(SYS_getdents64, fd, buffer, sizeof buffer);
        if (got < 0)
            return -errno;
        if (got == 0) {
            *end = 1;
            return (int64_t)output.used;
        }
        for (long at = 0; at < got;) {
            const struct dirent_of_kernel *dirent = (const void *)(buffer + at);
            int appended = is_dot(dirent->name) ? 1 : append(&output, fd, dirent, with_attributes);
            if (appended < 0)
                return appended;
            if (!appended)
                return output.used ? (int64_t)output.used : -EINVAL; /* not even one record fits */
            *next = (uint64_t)dirent->off;
            at += dirent->reclen;
        }
    }
}

static int
is_record(const uint8_t *data, uint64_t left)
{
    struct pysc_entry entry;
    if (left < sizeof entry)
        return 0;
    memcpy(&entry, data, sizeof entry);
    if (entry.has_attributes > 1 || !entry.name_length || entry.size > left)
        return 0;
    uint64_t at = sizeof entry + (entry.has_attributes ? sizeof(struct pysc_attributes) : 0);
    if (entry.size != PADDED(at + entry.name_length))
        return 0;
    const char *name = (const char *)data + at;
    if (memchr(name, 0, entry.name_length) || memchr(name, '/', entry.name_length))
        return 0;
    return !(name[0] == '.' && (entry.name_length == 1 || (entry.name_length == 2 && name[1] == '.')));
}

int64_t
pysc_check_listing(const void *data, uint64_t size)
{
    int64_t count = 0;
    const uint8_t *at = data;
    while (size) {
        if (!is_record(at, size))
            return -EBADMSG;
        uint16_t length;
        memcpy(&length, at + offsetof(struct pysc_entry, size), sizeof length);
        at += length;
        size -= length;
        count++;
    }
    return count;
}
