/* Spaces: what each is made of, and its place in the engine. */

#define _GNU_SOURCE
#include "fast.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOCKET_ROOM 65536 /* more than a hundred rings that nobody has taken */

static void
close_end(int32_t *file)
{
    if (*file >= 0)
        close(*file);
    *file = -1;
}

static void
close_ends(struct pysc_space_ends *ends)
{
    close_end(&ends->memory);
    close_end(&ends->socket);
    close_end(&ends->guest_socket);
}

/* Channel memory that nobody can shrink, and a socket pair on which the host says who speaks. */
static int64_t
open_ends(struct pysc_space_ends *ends)
{
    const int yes = 1, room = SOCKET_ROOM;
    int32_t pair[2];

    *ends = (struct pysc_space_ends){-1, -1, -1};
    ends->memory = memfd_create("pysc-channel", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (ends->memory < 0 || ftruncate(ends->memory, sizeof(struct pysc_channel)) != 0 ||
        fcntl(ends->memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return -errno;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return -errno;
    ends->socket = pair[0];
    ends->guest_socket = pair[1];
    if (setsockopt(ends->socket, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) != 0 ||
        setsockopt(ends->guest_socket, SOL_SOCKET, SO_SNDBUF, &room, sizeof room) != 0)
        return -errno;
    return 0;
}

/* Map the channel and listen to the socket. */
static int64_t
begin(struct pysc_engine *engine, struct space *space, uint32_t number)
{
    struct epoll_event event = socket_event(number);
    void *channel = mmap(NULL, sizeof *space->channel, PROT_READ | PROT_WRITE, MAP_SHARED, space->ends.memory, 0);

    if (channel == MAP_FAILED)
        return -errno;
    space->threads = calloc(PYSC_SLOTS, sizeof *space->threads);
    if (space->threads && epoll_ctl(engine->epoll, EPOLL_CTL_ADD, space->ends.socket, &event) == 0) {
        space->channel = channel;
        return 0;
    }
    free(space->threads);
    space->threads = NULL;
    munmap(channel, sizeof *space->channel);
    return -ENOMEM;
}

int64_t
pysc_space_new(struct pysc_engine *engine, struct pysc_space_ends *ends)
{
    uint32_t number = engine->free_space ? engine->free_space - 1 : engine->n_spaces;
    struct space *space = &engine->spaces[number];
    int64_t failed;

    if (number >= MAX_SPACES)
        return -EAGAIN;
    failed = open_ends(&space->ends);
    if (!failed)
        failed = begin(engine, space, number);
    if (failed) {
        close_ends(&space->ends);
        return failed;
    }
    if (engine->free_space)
        engine->free_space = space->next_free;
    else
        engine->n_spaces++;
    space->slots = 0;
    space->announced = space->rings = 0;
    space->attached_start = space->attached_end = 0;
    space->receiver = space->sending = space->awaited = space->next_place = 0;
    memset(space->kept, 0, sizeof space->kept);
    *ends = space->ends;
    return number;
}

uint32_t
pysc_engine_descriptors(const struct pysc_engine *engine, int32_t *files, uint32_t max)
{
    uint32_t count = 1;

    if (max)
        files[0] = engine->epoll;
    for (uint32_t number = 0; number < engine->n_spaces; number++) {
        const struct space *space = &engine->spaces[number];
        const int32_t some[] = {space->ends.memory, space->ends.socket, space->ends.guest_socket,
                                space->mapping.file ? space->mapping.fd : -1};

        for (size_t i = 0; space->channel && i < sizeof some / sizeof *some; i++) {
            if (some[i] < 0)
                continue;
            if (count < max)
                files[count] = some[i];
            count++;
        }
    }
    return count;
}

void
pysc_space_close_guest_ends(struct pysc_engine *engine, uint32_t number)
{
    struct space *space = space_at(engine, number);

    if (!space)
        return;
    close_end(&space->ends.memory);
    close_end(&space->ends.guest_socket);
}

int64_t
pysc_space_set_attached(struct pysc_engine *engine, uint32_t number, uint64_t start, uint64_t end)
{
    struct space *space = space_at(engine, number);

    if (!space)
        return -ESRCH;
    space->channel->attached_start = space->attached_start = start;
    space->channel->attached_end = space->attached_end = end;
    return 0;
}

int
is_alone(const struct space *space)
{
    uint32_t threads = 0;

    for (uint32_t slot = 0; slot < space->slots && threads < 2; slot++)
        threads += space->threads[slot] != 0;
    return threads == 1;
}

int64_t
pysc_space_remove(struct pysc_engine *engine, uint32_t number)
{
    struct space *space = space_at(engine, number);

    if (!space)
        return -ESRCH;
    for (uint32_t slot = 0; slot < space->slots; slot++) {
        if (space->threads[slot])
            pysc_thread_remove(engine, space->threads[slot] - 1);
    }
    free(space->threads);
    space->threads = NULL;
    for (uint32_t i = 0; i < N_HOT; i++) {
        if (engine->hot[i] == number + 1)
            engine->hot[i] = 0;
    }
    epoll_ctl(engine->epoll, EPOLL_CTL_DEL, space->ends.socket, NULL);
    close_ends(&space->ends);
    forget_mapping(space);
    forget_mapped(engine, space);
    munmap(space->channel, sizeof *space->channel);
    space->channel = NULL;
    space->next_free = engine->free_space;
    engine->free_space = number + 1;
    return 0;
}

struct pysc_channel *
pysc_space_channel(struct pysc_engine *engine, uint32_t number)
{
    struct space *space = space_at(engine, number);

    return space ? space->channel : NULL;
}
