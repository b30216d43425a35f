"""What the supervisor gives up once the program runs: it decodes the messages of a sentry that may be hostile by then.

It still writes the state, answers other commands, and kills and removes what is its own.  A supervisor that will run
hooks, a health command or another sandbox keeps its privileges: those need them.
"""

from __future__ import annotations

import os
from typing import Final

from pysc.cabi import confine, filters
from pysc.cabi.linux.capability import CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_KILL
from pysc.cabi.linux.prctl import PR_SET_NO_NEW_PRIVS

REFUSED: Final = (
    "execve", "execveat", "fork", "vfork", "clone", "clone3", "ptrace", "process_vm_readv", "process_vm_writev",
    "pidfd_getfd", "kcmp", "bpf", "perf_event_open", "userfaultfd", "socket", "connect", "mknod", "mknodat",
    "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "mount_setattr", "fsopen", "fsconfig",
    "fsmount", "fspick", "setns", "unshare", "name_to_handle_at", "open_by_handle_at", "setuid", "setgid", "setreuid",
    "setregid", "setresuid", "setresgid", "setgroups", "setfsuid", "setfsgid", "personality", "init_module",
    "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "acct", "quotactl",
    "syslog", "iopl", "ioperm", "add_key", "request_key", "keyctl", "settimeofday", "clock_settime", "clock_adjtime",
    "adjtimex", "sethostname", "setdomainname", "modify_ldt",
)  # fmt: skip

KEPT: Final = confine.mask(CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_KILL)
"""To write the state and the cgroups of an ordinary root, and to kill daemons, which have another id."""


def lock_down() -> None:
    """Give it up; there is no way back."""
    program = filters.load_refusing("supervisor", REFUSED)
    if os.geteuid() == 0:
        confine.set_capabilities(KEPT)
    confine.prctl(PR_SET_NO_NEW_PRIVS, 1)
    filters.install(program)
