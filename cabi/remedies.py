"""What an error of the host's kernel means to whoever starts a sandbox, beyond strerror(3)."""

from __future__ import annotations

import errno
from typing import Final

_REMEDIES: Final = {
    errno.ENOSYS: "Linux 5.19 or newer is needed, and no policy around pysc that hides it",
    errno.EPERM: "a container or policy around pysc forbids it",
    errno.EINVAL: "the host's kernel, or a policy around pysc, does not know it",
    errno.EAGAIN: "RLIMIT_NPROC or the pids limit of the container's cgroup is too small",
    errno.EMFILE: "RLIMIT_NOFILE is too small",
    errno.ENFILE: "the host has too many open files: see the sysctl fs.file-max",
    errno.ENOMEM: "the host or the container's cgroup has too little memory",
}


def explained(error: OSError) -> str:
    """Return what happened and, where that is known, what to change; one line."""
    what = error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{what}: {remedy}" if remedy else what
