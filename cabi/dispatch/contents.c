/* Contents of small files in memory. */

#define _GNU_SOURCE
#include "object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE 64

int64_t
pysc_data_grow(struct pysc_data *data, uint64_t size)
{
    uint64_t allocated = data->small_size ? data->small_size : FIRST_SIZE;
    uint8_t *small;

    if (size <= data->small_size)
        return 0;
    if (size > UINT32_MAX)
        return -EINVAL;
    while (allocated < size)
        allocated *= 2;
    small = realloc(data->small, allocated);
    if (!small)
        return -ENOMEM;
    memset(small + data->small_size, 0, allocated - data->small_size);
    data->small = small;
    data->small_size = allocated;
    return 0;
}

void
pysc_data_shrink(struct pysc_data *data)
{
    free(data->small);
    data->small = NULL;
    data->small_size = 0;
}
