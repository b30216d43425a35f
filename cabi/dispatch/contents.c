/* Contents of files in memory, and what they are charged to. */

#define _GNU_SOURCE
#include "object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE 64
#define DATA_PAGE 4096

uint32_t
pysc_data_pages(uint64_t start, uint64_t end)
{
    uint64_t first = start / DATA_PAGE, last = (end - 1) / DATA_PAGE;

    return last > 31 || first > last ? 0 : (uint32_t)((2ULL << last) - (1ULL << first));
}

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
    data->stored = 0;
}

struct pysc_budget *
pysc_budget_above(struct pysc_objects *objects, const struct pysc_budget *budget)
{
    return budget->parent ? pysc_budget_at(objects, budget->parent - 1) : NULL;
}

int64_t
pysc_budget_free(struct pysc_objects *objects, const struct pysc_budget *budget)
{
    int64_t least = INT64_MAX;

    for (int i = 0; budget && i < MAX_BUDGET_DEPTH; i++, budget = pysc_budget_above(objects, budget)) {
        int64_t here = budget->limit - budget->used;

        if (here < least)
            least = here > 0 ? here : 0;
    }
    return least;
}

void
pysc_budget_note(struct pysc_objects *objects, struct pysc_budget *budget, int64_t pages)
{
    for (int i = 0; budget && i < MAX_BUDGET_DEPTH; i++, budget = pysc_budget_above(objects, budget)) {
        object_lock(&budget->header);
        budget->used += pages;
        object_unlock(&budget->header);
    }
}

uint64_t
pysc_data_version(struct pysc_objects *objects, const struct pysc_data *data)
{
    uint64_t sum = 1;

    for (int i = 0; data && i <= MAX_REDIRECTIONS; i++) {
        if (data->uncertain)
            return 0;
        sum += data->version;
        if (data->where != PYSC_DATA_OTHER)
            return sum;
        data = pysc_data_at(objects, data->target);
    }
    return 0;
}

void
pysc_data_keep(struct pysc_objects *objects, struct pysc_data *data, const void *stat)
{
    uint64_t version = pysc_data_version(objects, data);

    if (!version)
        return;
    memcpy(data->stat, stat, sizeof data->stat);
    data->kept_version = version;
    data->kept = 1;
}

struct pysc_data *
pysc_data_end(struct pysc_objects *objects, uint32_t index, uint32_t generation)
{
    for (int i = 0; i <= MAX_REDIRECTIONS; i++) {
        struct pysc_data *data = &objects->data[index];

        if (!is_living(&data->header, generation))
            return NULL;
        if (data->where != PYSC_DATA_OTHER)
            return data->where == PYSC_DATA_NONE ? NULL : data;
        index = data->target;
        generation = data->target_generation;
    }
    return NULL;
}

void
pysc_data_donate(struct pysc_objects *objects, struct pysc_data *data, int32_t file)
{
    if (data->donated) {
        objects->revoked++;
        pysc_lent_end(objects);
    }
    data->donable = file;
    data->donated = 0;
    data->offer = 0;
    data->opened++;
}

int64_t
pysc_data_set_file(struct pysc_data *data, int32_t file)
{
    if (!data->missing || data->where != PYSC_DATA_NONE || file < 0)
        return -EINVAL;
    data->where = data->missing;
    data->missing = 0;
    data->file = file;
    return 0;
}
