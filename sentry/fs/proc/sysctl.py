"""/proc/sys (proc_sys(5)): what programs ask for, by folder in alphabetical order.

Writing is accepted where a set value does no harm by being ignored, and has an effect where one is noted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.capability import CAP_SYS_ADMIN
from pysc.cabi.linux.errors import EINVAL, EPERM
from pysc.sentry.chance import identifier
from pysc.sentry.fs.proc.base import Factory, Source, constant, folder, number, text
from pysc.sentry.fs.proc.sysvipc import Limits, QueueLimit
from pysc.sentry.platform.interface import LIMIT

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

LINE_MAX: Final = 1024


class Setting(Source):
    """A line that the kernel keeps, and that has no other effect."""

    __slots__ = ("_default", "_range")

    def __init__(self, default: bytes, bounds: tuple[int, int] | None = None) -> None:
        super().__init__(writable=True)
        self._default = default
        self._range = bounds

    def text(self, reader: Task) -> bytes:
        return reader.kernel.settings.get(self, self._default) + b"\n"

    def change(self, writer: Task, data: bytes) -> None:
        if self._range is not None:
            line = b"%d" % number(data, *self._range)
        elif len(data) <= LINE_MAX:
            line = data.rstrip(b"\n\0")
        else:
            raise EINVAL
        writer.kernel.settings[self] = line


def setting(value: int, low: int = 0, high: int = (1 << 63) - 1) -> Factory:
    """Declare a number."""
    return Setting(b"%d" % value, (low, high))


def words(value: bytes) -> Factory:
    """Declare a line."""
    return Setting(value)


def _set_hostname(task: Task, data: bytes) -> None:
    if not task.creds.has_capability(CAP_SYS_ADMIN):
        raise EPERM
    task.kernel.uts.hostname = data.rstrip(b"\n\0")[:64]


def _set_domainname(task: Task, data: bytes) -> None:
    if not task.creds.has_capability(CAP_SYS_ADMIN):
        raise EPERM
    task.kernel.uts.domainname = data.rstrip(b"\n\0")[:64]


_FS: Final[dict[bytes, Factory]] = {
    b"aio-max-nr": setting(65536),
    b"aio-nr": constant(b"0\n"),
    b"file-max": setting((1 << 63) - 1),
    b"file-nr": constant(b"0\t0\t9223372036854775807\n"),
    b"inode-nr": constant(b"0\t0\n"),
    b"inotify": folder(
        {b"max_queued_events": setting(16384), b"max_user_instances": setting(128), b"max_user_watches": setting(65536)}
    ),
    b"mqueue": folder(
        {
            b"msg_default": QueueLimit("msg_default"),
            b"msg_max": QueueLimit("msg_max"),
            b"msgsize_default": QueueLimit("msgsize_default"),
            b"msgsize_max": QueueLimit("msgsize_max"),
            b"queues_max": QueueLimit("queues_max"),
        }
    ),
    b"nr_open": setting(1048576),
    b"overflowgid": setting(65534),
    b"overflowuid": setting(65534),
    b"pipe-max-size": setting(1048576),
    b"pipe-user-pages-hard": setting(0),
    b"pipe-user-pages-soft": setting(16384),
    b"protected_fifos": setting(0),
    b"protected_hardlinks": setting(1, 1, 1),
    b"protected_regular": setting(0),
    b"protected_symlinks": setting(0),
    b"suid_dumpable": setting(0),
}

_KERNEL: Final[dict[bytes, Factory]] = {
    b"cap_last_cap": constant(b"40\n"),
    b"core_pattern": words(b"core"),
    b"core_uses_pid": setting(0),
    b"domainname": text(lambda task: task.kernel.uts.domainname + b"\n", _set_domainname),
    b"hostname": text(lambda task: task.kernel.uts.hostname + b"\n", _set_hostname),
    b"hung_task_timeout_secs": setting(0),
    b"io_uring_disabled": constant(b"2\n"),
    b"kptr_restrict": setting(1),
    b"msgmax": Limits("msgmax"),
    b"msgmnb": Limits("msgmnb"),
    b"msgmni": Limits("msgmni"),
    b"msg_next_id": Limits("msg_next_id"),
    b"ngroups_max": constant(b"65536\n"),
    b"osrelease": text(lambda task: task.kernel.uts.release + b"\n"),
    b"ostype": text(lambda task: task.kernel.uts.sysname + b"\n"),
    b"overflowgid": setting(65534),
    b"overflowuid": setting(65534),
    b"panic": setting(0),
    b"perf_event_paranoid": setting(3),
    b"pid_max": constant(b"32768\n"),
    b"printk": words(b"4\t4\t1\t7"),
    b"random": folder(
        {
            b"boot_id": text(lambda task: task.kernel.secrets.boot_id + b"\n"),
            b"entropy_avail": constant(b"256\n"),
            b"poolsize": constant(b"256\n"),
            b"uuid": text(lambda _task: identifier() + b"\n"),
        }
    ),
    b"randomize_va_space": constant(b"2\n"),
    b"sched_child_runs_first": setting(0),
    b"sem": Limits("semmsl", "semmns", "semopm", "semmni"),
    b"sem_next_id": Limits("sem_next_id"),
    b"seccomp": folder(
        {b"actions_avail": constant(b"kill_process kill_thread trap errno user_notif trace log allow\n")}
    ),
    b"shmall": Limits("shmall"),
    b"shmmax": Limits("shmmax"),
    b"shmmni": Limits("shmmni"),
    b"shm_next_id": Limits("shm_next_id"),
    b"sysrq": setting(0),
    b"tainted": constant(b"0\n"),
    b"threads-max": setting(63000),
    b"unprivileged_userns_clone": setting(0),
    b"version": text(lambda task: task.kernel.uts.version + b"\n"),
    b"yama": folder({b"ptrace_scope": setting(1)}),
}

_NET: Final[dict[bytes, Factory]] = {
    b"core": folder(
        {
            b"netdev_max_backlog": setting(1000),
            b"optmem_max": setting(131072),
            b"rmem_default": setting(212992),
            b"rmem_max": setting(212992),
            b"somaxconn": setting(4096),
            b"wmem_default": setting(212992),
            b"wmem_max": setting(212992),
        }
    ),
    b"ipv4": folder(
        {
            b"ip_forward": setting(0),
            b"ip_local_port_range": words(b"32768\t60999"),
            b"ip_local_reserved_ports": words(b""),
            b"ip_unprivileged_port_start": setting(0),
            b"ping_group_range": words(b"0\t2147483647"),
            b"tcp_available_congestion_control": constant(b"cubic\n"),
            b"tcp_congestion_control": words(b"cubic"),
            b"tcp_fin_timeout": setting(60),
            b"tcp_keepalive_intvl": setting(75),
            b"tcp_keepalive_probes": setting(9),
            b"tcp_keepalive_time": setting(7200),
            b"tcp_max_syn_backlog": setting(512),
            b"tcp_rmem": words(b"4096\t131072\t6291456"),
            b"tcp_sack": setting(1),
            b"tcp_syncookies": setting(1),
            b"tcp_timestamps": setting(1),
            b"tcp_tw_reuse": setting(2),
            b"tcp_window_scaling": setting(1),
            b"tcp_wmem": words(b"4096\t16384\t4194304"),
        }
    ),
    b"ipv6": folder(
        {
            b"conf": folder(
                {
                    name: folder({b"disable_ipv6": setting(0), b"accept_ra": setting(0)})
                    for name in (b"all", b"default", b"lo")
                }
            )
        }
    ),
}

_VM: Final[dict[bytes, Factory]] = {
    b"dirty_background_ratio": setting(10),
    b"dirty_ratio": setting(20),
    b"drop_caches": setting(0),
    b"hugetlb_shm_group": setting(0),
    b"max_map_count": setting(65530),
    b"min_free_kbytes": setting(67584),
    b"mmap_min_addr": constant(b"%d\n" % LIMIT),
    b"nr_hugepages": setting(0),
    b"overcommit_memory": setting(0),
    b"overcommit_ratio": setting(50),
    b"swappiness": setting(60),
}

SYS: Final[dict[bytes, Factory]] = {
    b"debug": folder({}),
    b"dev": folder({}),
    b"fs": folder(_FS),
    b"kernel": folder(_KERNEL),
    b"net": folder(_NET),
    b"user": folder(
        {
            name: setting(0)
            for name in (
                b"max_cgroup_namespaces",
                b"max_ipc_namespaces",
                b"max_mnt_namespaces",
                b"max_net_namespaces",
                b"max_pid_namespaces",
                b"max_user_namespaces",
                b"max_uts_namespaces",
            )
        }
    ),
    b"vm": folder(_VM),
}
