/* Descriptors for a guest, over the socket of its space. */

#define _GNU_SOURCE
#include <errno.h>
#include <linux/sockios.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "channel.h"
#include "dispatch.h"

#define MOST 4

int64_t
pysc_donate(int32_t socket, const int32_t *files, uint32_t count)
{
    char byte = 0;
    struct iovec vector = {&byte, 1};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(MOST * sizeof(int32_t))];
    } control = {.header = {CMSG_LEN(count * sizeof *files), SOL_SOCKET, SCM_RIGHTS}};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = CMSG_SPACE(count * sizeof *files)};
    int unread;

    if (count == 0 || count > MOST)
        return -EINVAL;
    if (ioctl(socket, SIOCOUTQ, &unread) != 0)
        return -errno;
    if (unread)
        return -EBUSY;
    memcpy(CMSG_DATA(&control.header), files, count * sizeof *files);
    return sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == 1 ? 0 : -errno;
}
