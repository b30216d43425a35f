/* What all harnesses begin with: checks that say what failed, and the same random numbers each time.  Comes first. */
#ifndef PYSC_CHECK_H
#define PYSC_CHECK_H

#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition) ((condition) ? (void)0 : failed(__LINE__, #condition))

static const char *looking_at = ""; /* what a failure tells besides */

static inline void
failed(int line, const char *condition)
{
    fprintf(stderr, "line %d: %s (errno %d) %.300s\n", line, condition, errno, looking_at);
    abort();
}

/* xorshift64 */
static inline uint64_t
next(void)
{
    static uint64_t state = 88172645463325252u;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

#endif
