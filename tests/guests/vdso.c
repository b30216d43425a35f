/* The vDSO's own functions, found as the C library finds them, agree with the system calls. */
#include "guest.h"
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

static void *lookup(const char *name)
{
    const char *base = (void *)getauxval(AT_SYSINFO_EHDR);
    const ElfW(Ehdr) *header = (void *)base;
    const ElfW(Phdr) *segment = (void *)(base + header->e_phoff);
    const ElfW(Dyn) *dynamic = NULL;
    uintptr_t bias = 0;
    for (int i = 0; i < header->e_phnum; i++)
        if (segment[i].p_type == PT_LOAD)
            bias = (uintptr_t)base + segment[i].p_offset - segment[i].p_vaddr;
        else if (segment[i].p_type == PT_DYNAMIC)
            dynamic = (void *)(base + segment[i].p_offset);
    const ElfW(Sym) *symbols = NULL;
    const char *strings = NULL;
    const uint32_t *gnu = NULL, *hash = NULL;
    const ElfW(Versym) *versions = NULL;
    const char *definition = NULL;
    for (; dynamic && dynamic->d_tag; dynamic++) {
        void *value = (void *)(bias + dynamic->d_un.d_ptr);
        symbols = dynamic->d_tag == DT_SYMTAB ? value : symbols;
        strings = dynamic->d_tag == DT_STRTAB ? value : strings;
        hash = dynamic->d_tag == DT_HASH ? value : hash;
        gnu = dynamic->d_tag == DT_GNU_HASH ? value : gnu;
        versions = dynamic->d_tag == DT_VERSYM ? value : versions;
        definition = dynamic->d_tag == DT_VERDEF ? value : definition;
    }
    /* Go's runtime takes it for granted that there are definitions. */
    CHECK(symbols && strings && (hash || gnu) && versions && definition);
    const ElfW(Verdef) *version = (void *)definition;
    while (strcmp(strings + ((const ElfW(Verdaux) *)(definition + version->vd_aux))->vda_name, "LINUX_2.6") != 0) {
        CHECK(version->vd_next != 0);
        definition += version->vd_next;
        version = (void *)definition;
    }
    CHECK(version->vd_hash == 0x3ae75f6 && !(version->vd_flags & VER_FLG_BASE));
    uint32_t count = hash ? hash[1] : 64;
    for (uint32_t i = 1; i < count; i++)
        if (symbols[i].st_shndx != SHN_UNDEF && symbols[i].st_name && strcmp(strings + symbols[i].st_name, name) == 0 &&
            (versions[i] & 0x7fff) == version->vd_ndx)
            return (void *)(bias + symbols[i].st_value);
    return NULL;
}

int main(void)
{
    int (*gettime)(clockid_t, struct timespec *) = lookup("__vdso_clock_gettime");
    int (*gettimeofday_)(struct timeval *, void *) = lookup("__vdso_gettimeofday");
    time_t (*time_)(time_t *) = lookup("__vdso_time");
    int (*getcpu_)(unsigned *, unsigned *, void *) = lookup("__vdso_getcpu");
    CHECK(gettime && gettimeofday_ && time_ && getcpu_);
    struct timespec fast, slow;
    struct timeval day;
    unsigned cpu = 9999;
    CHECK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &slow) == 0 && gettime(CLOCK_MONOTONIC, &fast) == 0);
    double gap = fast.tv_sec - slow.tv_sec + (fast.tv_nsec - slow.tv_nsec) / 1e9;
    CHECK(gap >= 0 && gap < 1);
    CHECK(gettimeofday_(&day, NULL) == 0 && labs(day.tv_sec - time_(NULL)) <= 1);
    CHECK(getcpu_(&cpu, NULL, NULL) == 0 && cpu < 4096);
    say("bad clock %d\n", gettime(99, &fast));
    for (int i = 0; i < 20000; i++)
        CHECK(gettime(CLOCK_REALTIME, &fast) == 0);
    return done();
}
