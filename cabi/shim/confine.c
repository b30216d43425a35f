/* Namespaces, mounts, capabilities and filters: one host call a function. */

#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "confine.cdef.h"

#define PTRACE_SECCOMP_GET_FILTER_ 0x420c

static int32_t
answer(long result)
{
    return result < 0 ? -errno : (int32_t)result;
}

int32_t
pysc_try_calls(const char **name)
{
    /* All arguments 0 but the first: each does nothing, or is an error that the kernel gives for that. */
    static const struct {
        const char *name;
        long number;
        long first;
    } calls[] = {
        {"clock_nanosleep", SYS_clock_nanosleep, 0},
        {"clone3", SYS_clone3, 0},
        {"close_range", SYS_close_range, UINT32_MAX},
        {"epoll_create1", SYS_epoll_create1, -1},
        {"epoll_ctl", SYS_epoll_ctl, -1},
        {"execveat", SYS_execveat, -1},
        {"getrandom", SYS_getrandom, 0},
        {"getsockopt", SYS_getsockopt, -1},
        {"ioctl", SYS_ioctl, -1},
        {"lseek", SYS_lseek, -1},
        {"openat2", SYS_openat2, -1},
        {"pipe2", SYS_pipe2, 0},
        {"poll", SYS_poll, 0},
        {"preadv2", SYS_preadv2, -1},
        {"prlimit64", SYS_prlimit64, 0},
        {"pwritev2", SYS_pwritev2, -1},
        {"readlinkat", SYS_readlinkat, -1},
        {"recvmsg", SYS_recvmsg, -1},
        {"rt_sigaction", SYS_rt_sigaction, 0},
        {"rt_sigprocmask", SYS_rt_sigprocmask, 0},
        {"sendmsg", SYS_sendmsg, -1},
        {"sendto", SYS_sendto, -1},
        {"setsockopt", SYS_setsockopt, -1},
        {"sigaltstack", SYS_sigaltstack, 0},
        {"statx", SYS_statx, -1},
        {"sysinfo", SYS_sysinfo, 0},
    };

    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        if (syscall(calls[i].number, calls[i].first, 0, 0, 0, 0, 0) < 0 && errno != EBADF && errno != EFAULT &&
            errno != EINVAL && errno != ENOENT) {
            *name = calls[i].name;
            return -errno;
        }
    return 0;
}

int32_t
pysc_unshare(uint64_t flags)
{
    return answer(syscall(SYS_unshare, flags));
}

int32_t
pysc_setns(int32_t fd, uint64_t type)
{
    return answer(syscall(SYS_setns, fd, type));
}

int32_t
pysc_mount(const char *source, const char *target, const char *type, uint64_t flags, const char *data)
{
    return answer(syscall(SYS_mount, source, target, type, flags, data));
}

int32_t
pysc_umount2(const char *target, int32_t flags)
{
    return answer(syscall(SYS_umount2, target, flags));
}

int32_t
pysc_pivot_root(const char *new_root, const char *put_old)
{
    return answer(syscall(SYS_pivot_root, new_root, put_old));
}

int32_t
pysc_open_tree(int32_t dirfd, const char *path, uint32_t flags)
{
    return answer(syscall(SYS_open_tree, dirfd, path, flags));
}

int32_t
pysc_move_mount(int32_t from_fd, const char *from_path, int32_t to_fd, const char *to_path, uint32_t flags)
{
    return answer(syscall(SYS_move_mount, from_fd, from_path, to_fd, to_path, flags));
}

int32_t
pysc_mount_setattr(int32_t dirfd, const char *path, uint32_t flags, uint64_t set, uint64_t clear)
{
    struct mount_attr attributes = {.attr_set = set, .attr_clr = clear};

    return answer(syscall(SYS_mount_setattr, dirfd, path, flags, &attributes, sizeof attributes));
}

int32_t
pysc_prctl(int32_t option, uint64_t arg2, uint64_t arg3)
{
    return answer(syscall(SYS_prctl, option, arg2, arg3, 0, 0));
}

int32_t
pysc_capset(uint64_t effective, uint64_t permitted, uint64_t inheritable)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[2];

    for (int half = 0; half < 2; half++) {
        data[half].effective = (uint32_t)(effective >> (32 * half));
        data[half].permitted = (uint32_t)(permitted >> (32 * half));
        data[half].inheritable = (uint32_t)(inheritable >> (32 * half));
    }
    return answer(syscall(SYS_capset, &header, data));
}

int32_t
pysc_load_filter(const void *program, uint64_t count)
{
    if (count == 0 || count > BPF_MAXINSNS)
        return -EINVAL;

    struct sock_fprog filter = {.len = (unsigned short)count, .filter = (struct sock_filter *)(uintptr_t)program};

    long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);
    return result > 0 ? -EBUSY : answer(result); /* the id of a thread that has another filter of its own */
}

int32_t
pysc_refuse_io_uring(void)
{
    /* Another architecture's numbers mean other calls; they are the final filter's business. */
    static struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SYS_io_uring_setup, 0, 2),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, SYS_io_uring_register, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };

    return pysc_load_filter(program, sizeof program / sizeof program[0]);
}

uint64_t
pysc_auxiliary(uint64_t type)
{
    return getauxval(type);
}

int64_t
pysc_get_filter(int32_t pid, uint64_t index, void *program)
{
    long count = syscall(SYS_ptrace, (long)PTRACE_SECCOMP_GET_FILTER_, (long)pid, index, program);

    return count < 0 ? -errno : count;
}
