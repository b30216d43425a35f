/* Guests' sockets: they ring where their channels are not looked at, and say who a new process is. */

#define _GNU_SOURCE
#include "engine.h"

#include <string.h>
#include <sys/socket.h>

#define MOST_HEARD 256      /* more than a socket holds */
#define MOST_UNHEARD 8      /* it has room for many times as many */

void
look_later(struct pysc_engine *engine, uint32_t number)
{
    struct space *space = &engine->spaces[number];

    if (!space->unheard)
        engine->unheard[engine->n_unheard++] = number;
    space->unheard = 1;
}

/* Who sent the message, as the host says; 0: it does not. */
static int32_t
sender(struct msghdr *message)
{
    const struct cmsghdr *header = CMSG_FIRSTHDR(message);
    struct ucred who;

    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS ||
        header->cmsg_len < CMSG_LEN(sizeof who))
        return 0;
    memcpy(&who, CMSG_DATA(header), sizeof who);
    return who.pid;
}

static void
announce(struct pysc_engine *engine, uint32_t number, int32_t pid, struct batch *batch)
{
    struct space *space = &engine->spaces[number];

    for (uint32_t slot = 0; slot < space->slots; slot++) {
        if (space->threads[slot])
            end_birth(engine, space->threads[slot] - 1);
    }
    space->announced = 1;
    batch->events[batch->n++] = (struct pysc_event){.id = number, .kind = PYSC_BORN, .nr = pid};
}

/* Empty a space's socket.  What guests say there is that they are there; the first to say so is who the space belongs to,
 * and if all who could have ended before, nobody is.  Returns whether that was all. */
static int
hear(struct pysc_engine *engine, uint32_t number, struct batch *batch)
{
    struct space *space = &engine->spaces[number];

    space->rings = 0;
    for (int i = 0; i < MOST_HEARD; i++) {
        union {
            struct cmsghdr header;
            char space[CMSG_SPACE(sizeof(struct ucred))];
        } control;
        uint64_t nothing;
        struct iovec vector = {&nothing, sizeof nothing};
        struct msghdr message = {
            .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        ssize_t got;

        if (!space->announced && batch->n == batch->max)
            return 0;
        got = recvmsg(space->ends.socket, &message, MSG_DONTWAIT);
        if (!space->announced && got >= 0)
            announce(engine, number, got ? sender(&message) : 0, batch);
        if (got <= 0)
            return 1;
    }
    return 0;
}

void
hear_all(struct pysc_engine *engine, struct batch *batch)
{
    uint32_t left = 0;

    for (uint32_t i = 0; i < engine->n_unheard; i++) {
        uint32_t number = engine->unheard[i];

        if (space_at(engine, number) && (!hear(engine, number, batch) || scan_space(engine, number, batch) < 0))
            engine->unheard[left++] = number;
        else
            engine->spaces[number].unheard = 0;
    }
    engine->n_unheard = engine->unfinished = left;
}

void
take_ring(struct pysc_engine *engine, uint32_t number, struct batch *batch)
{
    struct space *space = space_at(engine, number);

    if (!space)
        return;
    /* A thread that is alone rings once for a report, or now and then again while this is on its way. */
    if (!space->announced || ++space->rings > MOST_UNHEARD || !is_alone(space))
        look_later(engine, number);
    if (!space->announced)
        hear(engine, number, batch); /* before anything that it reports */
    heat(engine, number, batch);     /* before the scan: what comes after it is found by the next one */
    if (!space->announced || batch->n || scan_space(engine, number, batch) < 0) {
        look_later(engine, number); /* what is told already is Python's to hear before there is more */
        engine->unfinished = 1;
    }
}

