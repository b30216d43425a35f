/* The vDSO image that guests are given, at a fixed address with stable entries: each jumps through the page at
 * PYSC_VDSO_TABLE, which a blank fills with the host's functions.  An ELF shared object written by hand: one hash
 * bucket, and every symbol is of the version LINUX_2.6, as on Linux (Go's runtime reads the definitions unasked). */

#define TABLE 0x50000
#define SYMBOLS 9

.section .vdso, "ax", @progbits
image:
    .byte 0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0
    .short 3, 62                    /* ET_DYN, EM_X86_64 */
    .long 1
    .quad 0, program - image, 0     /* entry, phoff, shoff */
    .long 0
    .short 64, 56, 2, 64, 0, 0      /* ehsize, phentsize, phnum, shentsize, shnum, shstrndx */
program:
    .long 1, 5                      /* PT_LOAD, R X */
    .quad 0, 0, 0, image_end - image, image_end - image, 4096
    .long 2, 4                      /* PT_DYNAMIC */
    .quad dynamic - image, dynamic - image, dynamic - image, dynamic_end - dynamic, dynamic_end - dynamic, 8

    .balign 8
dynamic:
    .quad 14, so_name - strings     /* SONAME */
    .quad 4, hash - image
    .quad 5, strings - image
    .quad 6, symbols - image
    .quad 10, strings_end - strings
    .quad 11, 24
    .quad 0x6ffffff0, versions - image
    .quad 0x6ffffffc, definitions - image
    .quad 0x6ffffffd, 2
    .quad 0, 0
dynamic_end:

.macro symbol name, code
    .long \name - strings
    .byte 0x12, 0                   /* GLOBAL FUNC */
    .short 1
    .quad \code - image, 8
.endm
    .balign 8
symbols:
    .quad 0, 0, 0
    symbol name_clock_gettime, code_clock_gettime
    symbol name_vdso_clock_gettime, code_clock_gettime
    symbol name_gettimeofday, code_gettimeofday
    symbol name_vdso_gettimeofday, code_gettimeofday
    symbol name_time, code_time
    symbol name_vdso_time, code_time
    symbol name_vdso_clock_getres, code_clock_getres
    symbol name_vdso_getcpu, code_getcpu

    .balign 8
hash:
    .long 1, SYMBOLS, 1             /* one bucket, which begins with symbol 1 */
    .long 0, 2, 3, 4, 5, 6, 7, 8, 0

versions:
    .short 0
    .fill SYMBOLS - 1, 2, 2

    .balign 8
.macro definition flags, index, name, hash, next
    .short 1, \flags, \index, 1
    .long \hash, 20, \next
    .long \name - strings, 0
.endm
definitions:
    definition 1, 1, so_name, 0xdeebfa1, 28  /* BASE */
    definition 0, 2, version_name, 0x3ae75f6, 0

strings:
    .byte 0
so_name: .asciz "linux-vdso.so.1"
version_name: .asciz "LINUX_2.6"
name_clock_gettime: .asciz "clock_gettime"
name_vdso_clock_gettime: .asciz "__vdso_clock_gettime"
name_gettimeofday: .asciz "gettimeofday"
name_vdso_gettimeofday: .asciz "__vdso_gettimeofday"
name_time: .asciz "time"
name_vdso_time: .asciz "__vdso_time"
name_vdso_clock_getres: .asciz "__vdso_clock_getres"
name_vdso_getcpu: .asciz "__vdso_getcpu"
strings_end:

    .balign 16
code_clock_gettime:
    jmp *TABLE
    .balign 16
code_gettimeofday:
    jmp *TABLE + 8
    .balign 16
code_time:
    jmp *TABLE + 16
    .balign 16
code_clock_getres:
    jmp *TABLE + 24
    .balign 16
code_getcpu:
    jmp *TABLE + 32

/* Where the host has no such function: the call itself, which traps like any other of the guest's. */
.macro fallback name, nr
.globl \name
\name:
    mov $\nr, %eax
    syscall
    ret
.endm
fallback fall_clock_gettime, 228
fallback fall_gettimeofday, 96
fallback fall_time, 201
fallback fall_clock_getres, 229
fallback fall_getcpu, 309
image_end:

.section .note.GNU-stack, "", @progbits
