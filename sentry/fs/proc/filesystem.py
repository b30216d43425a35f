"""The root of procfs: processes by number, the machine's entries, self."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import ENOENT, ESRCH
from pysc.cabi.linux.stat import S_IFDIR
from pysc.sentry.fs.inode import Entry, Inode
from pysc.sentry.fs.proc.base import Factory, Folder, folder, link
from pysc.sentry.fs.proc.process import INODES_PER_TASK, ProcessDirectory, ProcFs, find
from pysc.sentry.fs.proc.sysctl import SYS
from pysc.sentry.fs.proc.system import SYSTEM

if TYPE_CHECKING:
    from pysc.sentry.kernel.kernel import Kernel

ROOT: Final[dict[bytes, Factory]] = {
    **SYSTEM,
    b"self": link(lambda task: b"%d" % task.group.tgid),
    b"sys": folder(SYS),
    b"thread-self": link(lambda task: b"%d/task/%d" % (task.group.tgid, task.tid)),
}


class ProcRoot(Folder):
    """/proc."""

    __slots__ = ()

    fs: ProcFs

    def links(self) -> int:
        return 2 + len(self.fs.kernel.groups)

    async def lookup(self, name: bytes) -> Inode:
        if name[:1].isdigit():
            if not name.isdigit() or len(name) > 10 or name[0] == 48:
                raise ENOENT
            try:
                find(self.fs, int(name))
            except ESRCH:
                raise ENOENT from None
            return ProcessDirectory(self.fs, int(name), whole=True)
        return self.child(name)

    async def entries(self) -> list[Entry]:
        found = await super().entries()
        tgids = sorted(tgid for tgid, group in self.fs.kernel.groups.items() if not group.reaped)
        return found + [Entry(b"%d" % tgid, tgid * INODES_PER_TASK, S_IFDIR) for tgid in tgids]


def make_proc(kernel: Kernel) -> ProcFs:
    """Return a new procfs."""
    fs = ProcFs(kernel)
    fs.root = ProcRoot(fs, ROOT)
    return fs
