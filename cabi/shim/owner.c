/* The extended attribute user.pysc.owner: parsed, and put into attributes. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "attributes.h"
#include "owner.cdef.h"

#define ATTRIBUTE "user.pysc.owner"
#define LONGEST (sizeof "4294967294:4294967294:7777" - 1)
#define MODE_DIGITS 4
#define CALLER 0 /* in the user namespace of a caller without root */

/* A decimal up to a colon, which is passed.  Where it goes on, or NULL. */
static const char *
parse_id(const char *at, const char *end, uint32_t *out)
{
    const char *colon = memchr(at, ':', (size_t)(end - at));
    uint64_t value = 0;

    if (!colon || colon == at || (*at == '0' && colon - at > 1))
        return NULL;
    for (; at < colon; at++) {
        if (*at < '0' || *at > '9')
            return NULL;
        value = value * 10 + (uint64_t)(*at - '0');
        if (value >= UINT32_MAX) /* (uid_t)-1 is nobody */
            return NULL;
    }
    *out = (uint32_t)value;
    return colon + 1;
}

int32_t
pysc_parse_owner(const char *text, uint64_t length, struct pysc_owner *out)
{
    const char *end = text + length, *at = text;
    struct pysc_owner owner = {0};

    if (length > LONGEST)
        return -EINVAL;
    at = parse_id(at, end, &owner.uid);
    if (at)
        at = parse_id(at, end, &owner.gid);
    if (!at || end - at != MODE_DIGITS)
        return -EINVAL;
    for (; at < end; at++) {
        if (*at < '0' || *at > '7')
            return -EINVAL;
        owner.mode = owner.mode << 3 | (uint32_t)(*at - '0');
    }
    *out = owner;
    return 0;
}

static int
can_have_owner(const struct pysc_attributes *a)
{
    return (S_ISREG(a->mode) || S_ISDIR(a->mode)) && a->uid == CALLER && !(a->mode & (S_IWGRP | S_IWOTH));
}

int32_t
pysc_show_owner(int32_t fd, struct pysc_attributes *attributes)
{
    char text[LONGEST];
    struct pysc_owner owner;
    ssize_t length;

    if (!can_have_owner(attributes))
        return 0;
    length = fgetxattr(fd, ATTRIBUTE, text, sizeof text);
    if (length < 0)
        return errno == ENODATA || errno == EOPNOTSUPP || errno == ERANGE || errno == EACCES ? 0 : -errno;
    if (pysc_parse_owner(text, (uint64_t)length, &owner) == 0) {
        attributes->uid = owner.uid;
        attributes->gid = owner.gid;
        attributes->mode = (attributes->mode & S_IFMT) | owner.mode;
    }
    return 0;
}

int32_t
pysc_show_owner_at(int32_t dirfd, const char *path, uint64_t length, struct pysc_attributes *attributes)
{
    struct pysc_attributes found;
    int32_t fd, error;

    if (!can_have_owner(attributes))
        return 0;
    fd = pysc_open_beneath(dirfd, path, length, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (fd == -EACCES)
        return 0;
    if (fd < 0) /* gone, or a link by now: another file's name */
        return fd == -ENOENT || fd == -ENXIO || fd == -ELOOP ? -ESTALE : fd;
    error = pysc_attributes_of(fd, "", &found);
    if (!error && (found.dev != attributes->dev || found.ino != attributes->ino))
        error = -ESTALE;
    if (!error)
        error = pysc_show_owner(fd, attributes);
    close(fd);
    return error;
}
