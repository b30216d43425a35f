"""sysfs (sysfs(5)): what programs read of it, by folder in alphabetical order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.mount import SYSFS_MAGIC
from pysc.sentry.fs.proc.base import Factory, Folder, PseudoFs, constant, folder, text

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

PROCESSORS_MAX: Final = 256


def _list(task: Task) -> bytes:
    count = task.kernel.machine.cpus
    return b"0-%d\n" % (count - 1) if count > 1 else b"0\n"


def processor_map(mask: int) -> bytes:
    """Return a set of processors as sysfs writes one: words of 32 bits, the highest first."""
    words = [mask & 0xFFFF_FFFF]
    while mask := mask >> 32:
        words.append(mask & 0xFFFF_FFFF)
    return b"%x" % words.pop() + b"".join(b",%08x" % word for word in reversed(words)) + b"\n"


def _all(task: Task) -> bytes:
    return processor_map((1 << task.kernel.machine.cpus) - 1)


def _processor(index: int) -> Factory:
    alone, alone_list = constant(processor_map(1 << index)), constant(b"%d\n" % index)
    return folder(
        {
            b"topology": folder(
                {
                    b"core_cpus": alone,
                    b"core_cpus_list": alone_list,
                    b"core_id": constant(b"%d\n" % index),
                    b"core_siblings": text(_all),
                    b"core_siblings_list": text(_list),
                    b"package_cpus": text(_all),
                    b"package_cpus_list": text(_list),
                    b"physical_package_id": constant(b"0\n"),
                    b"thread_siblings": alone,
                    b"thread_siblings_list": alone_list,
                }
            )
        }
    )


def _cpu(processors: int) -> dict[bytes, Factory]:
    table: dict[bytes, Factory] = {
        b"kernel_max": constant(b"255\n"),
        b"offline": constant(b"\n"),
        b"online": text(_list),
        b"possible": text(_list),
        b"present": text(_list),
        b"smt": folder({b"active": constant(b"0\n"), b"control": constant(b"notsupported\n")}),
    }
    for index in range(min(processors, PROCESSORS_MAX)):
        table[b"cpu%d" % index] = _processor(index)
    return table


def _tree(processors: int) -> dict[bytes, Factory]:
    return {
        b"block": folder({}),
        b"bus": folder({}),
        b"class": folder({b"net": folder({}), b"tty": folder({})}),
        b"dev": folder({b"block": folder({}), b"char": folder({})}),
        b"devices": folder(
            {
                b"system": folder(
                    {
                        b"cpu": folder(_cpu(processors)),
                        b"node": folder(
                            {
                                b"has_cpu": constant(b"0\n"),
                                b"node0": folder(
                                    {b"cpulist": text(_list), b"cpumap": text(_all), b"distance": constant(b"10\n")}
                                ),
                                b"online": constant(b"0\n"),
                                b"possible": constant(b"0\n"),
                            }
                        ),
                    }
                ),
                b"virtual": folder({}),
            }
        ),
        b"firmware": folder({}),
        b"fs": folder({b"cgroup": folder({}), b"fuse": folder({})}),
        b"kernel": folder(
            {
                b"debug": folder({}, 0o700),
                b"mm": folder(
                    {
                        b"hugepages": folder({}),
                        b"transparent_hugepage": folder(
                            {
                                b"defrag": constant(b"always defer defer+madvise [madvise] never\n"),
                                b"enabled": constant(b"always [madvise] never\n"),
                                b"hpage_pmd_size": constant(b"2097152\n"),
                                b"shmem_enabled": constant(b"always within_size advise [never] deny force\n"),
                            }
                        ),
                    }
                ),
                b"security": folder({}),
            }
        ),
        b"module": folder({}),
        b"power": folder({}),
    }


_trees: Final[dict[int, dict[bytes, Factory]]] = {}
"""By processors: made once, as the tables that modules have."""


def tree(processors: int) -> dict[bytes, Factory]:
    """Return the table of a machine."""
    if processors not in _trees:
        _trees[processors] = _tree(processors)
    return _trees[processors]


class Sysfs(PseudoFs):
    """A sysfs for a machine with ``processors``."""

    __slots__ = ()

    name = b"sysfs"
    magic = SYSFS_MAGIC

    def __init__(self, processors: int) -> None:
        super().__init__()
        self.root = Folder(self, tree(processors))
