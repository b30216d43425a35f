/* The start of a process: auxiliary vector, stack layout and alignment, vDSO, TLS, and what is open. */
#include "guest.h"
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

extern char **environ;
static __thread int tls = 77;

int main(int argc, char **argv)
{
    CHECK(argc == 1 && argv[1] == NULL);
    say("page size %ld ticks %ld secure %ld\n", getauxval(AT_PAGESZ), getauxval(AT_CLKTCK), getauxval(AT_SECURE));
    CHECK(getauxval(AT_UID) == getuid() && getauxval(AT_EUID) == geteuid() && getauxval(AT_GID) == getgid() && getauxval(AT_EGID) == getegid());
    const unsigned char *random = (void *)getauxval(AT_RANDOM);
    int nonzero = 0;
    for (int i = 0; i < 16; i++)
        nonzero += random[i] != 0;
    CHECK(nonzero > 8);
    CHECK(strcmp((char *)getauxval(AT_EXECFN), argv[0]) == 0 && strcmp((char *)getauxval(AT_PLATFORM), "x86_64") == 0);
    const ElfW(Phdr) *headers = (void *)getauxval(AT_PHDR);
    CHECK(getauxval(AT_PHENT) == sizeof *headers && getauxval(AT_PHNUM) > 3 && getauxval(AT_ENTRY) != 0);
    int loads = 0;
    for (unsigned i = 0; i < getauxval(AT_PHNUM); i++)
        loads += headers[i].p_type == PT_LOAD;
    CHECK(loads > 1);
    const ElfW(Ehdr) *vdso = (void *)getauxval(AT_SYSINFO_EHDR);
    CHECK(vdso && memcmp(vdso->e_ident, ELFMAG, SELFMAG) == 0 && vdso->e_type == ET_DYN && vdso->e_machine == EM_X86_64);
    CHECK(getauxval(AT_HWCAP) != 0 && getauxval(AT_MINSIGSTKSZ) >= 1024);
    CHECK(((uintptr_t)argv & 7) == 0 && (char **)argv < environ && (char *)environ < argv[0] && tls == 77);
    CHECK(((uintptr_t)(argv - 1) & 15) == 0); /* argc stands at a multiple of 16 */
    say("descriptors:");
    for (int fd = 0; fd < 10; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            say(" %d", fd);
    say("\n");
    sigset_t set;
    sigprocmask(SIG_BLOCK, NULL, &set);
    CHECK(sigisemptyset(&set));
    void *first = sbrk(0), *second = malloc(100000);
    CHECK(second && (char *)sbrk(0) >= (char *)first);
    return done();
}
