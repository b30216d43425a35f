/* Clocks: the host's vDSO functions, found by name, behind the table of our own image. */

#include "guest.h"

#define PT_LOAD 1
#define PT_DYNAMIC 2
#define DT_HASH 4
#define DT_STRTAB 5
#define DT_SYMTAB 6

struct program_header {
    uint32_t type, flags;
    uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

struct symbol {
    uint32_t name;
    uint8_t info, other;
    uint16_t section;
    uint64_t value, size;
};

static const struct {
    const char *name;
    void (*fallback)(void);
} functions[] = {
    {"__vdso_clock_gettime", fall_clock_gettime}, {"__vdso_gettimeofday", fall_gettimeofday},
    {"__vdso_time", fall_time},                   {"__vdso_clock_getres", fall_clock_getres},
    {"__vdso_getcpu", fall_getcpu},
};
#define N_FUNCTIONS (sizeof functions / sizeof *functions)

static int
same(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static uint64_t
find(const uint8_t *image, uint64_t bias, const uint64_t *dynamic, const char *name)
{
    const char *strings = 0;
    const struct symbol *symbols = 0;

    for (; dynamic[0]; dynamic += 2) {
        if (dynamic[0] == DT_STRTAB)
            strings = (const char *)image + dynamic[1] - bias;
        else if (dynamic[0] == DT_SYMTAB)
            symbols = (const struct symbol *)(image + dynamic[1] - bias);
    }
    if (!strings || !symbols)
        return 0;
    /* The string table follows the symbols, in every vDSO that there has been; DT_HASH, which has their number, may lack. */
    for (const struct symbol *s = symbols + 1; (const char *)(s + 1) <= strings; s++) {
        if (s->section && same(strings + s->name, name))
            return (uint64_t)image + s->value - bias;
    }
    return 0;
}

/* Fill `table` with the host's functions; `image` is its vDSO, 0 if there is none. */
void
find_clocks(const uint8_t *image, uint64_t *table)
{
    const struct program_header *header;
    const uint64_t *dynamic = 0;
    uint64_t bias = 0;

    if (image) {
        header = (const struct program_header *)(image + *(const uint64_t *)(image + 32));
        for (uint16_t i = 0; i < *(const uint16_t *)(image + 56); i++) {
            if (header[i].type == PT_LOAD)
                bias = header[i].vaddr - header[i].offset;
            else if (header[i].type == PT_DYNAMIC)
                dynamic = (const uint64_t *)(image + header[i].offset);
        }
    }
    for (size_t i = 0; i < N_FUNCTIONS; i++) {
        table[i] = dynamic ? find(image, bias, dynamic, functions[i].name) : 0;
        if (!table[i])
            table[i] = (uint64_t)functions[i].fallback;
    }
}
