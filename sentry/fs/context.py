"""What CLONE_FS shares: root, working directory, umask (struct fs_struct)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pysc.cabi import objects
from pysc.cabi._dispatch import lib
from pysc.sentry.fs.dcache import find
from pysc.sentry.fs.path import MountNamespace, Path


class FsContext:
    """Where paths start for some tasks, and the mount namespace they are in.

    It is the face of a struct pysc_context: fast paths know where that is, too, if they know the place.
    """

    __slots__ = ("_c", "_cwd", "_root", "index", "namespace", "umask", "users")

    def __init__(
        self, root: Path, cwd: Path | None = None, umask: int = 0o022, namespace: MountNamespace | None = None
    ) -> None:
        """``namespace`` None is the root's."""
        namespace = namespace or root.mount.namespace
        assert namespace is not None, "only what was copied may have a root in none"
        self.index = objects.new(objects.CONTEXT)
        self.namespace: MountNamespace = namespace
        namespace.enter()
        self._c: Any = lib.pysc_context_at(objects.OBJECTS, self.index)
        self._root = root
        self._cwd = root if cwd is None else cwd
        self.umask = umask
        self.users = 1
        """Tasks that share it."""
        self._publish()

    def __del__(self, free: Callable[[int], None] = objects.free_context) -> None:
        if hasattr(self, "index"):  # not if there was none left
            free(self.index)
            self.namespace.leave()

    @property
    def root(self) -> Path:
        """What absolute paths start from."""
        return self._root

    @root.setter
    def root(self, root: Path) -> None:
        self._root = root
        self._publish()

    @property
    def cwd(self) -> Path:
        """The working directory."""
        return self._cwd

    @cwd.setter
    def cwd(self, cwd: Path) -> None:
        self._cwd = cwd
        self._publish()

    def _publish(self) -> None:
        root, cwd = self._root, self._cwd
        lib.pysc_context_set(objects.OBJECTS, self._c, find(root), root.mount.id, find(cwd), cwd.mount.id)

    def copy(self) -> FsContext:
        """Return an unshared copy (fork)."""
        return FsContext(self._root, self._cwd, self.umask, self.namespace)

    def unshare_namespace(self) -> None:
        """Go on in a copy of the mount namespace (CLONE_NEWNS); the context must not be shared."""
        left = self.namespace
        self.namespace, copies = left.copy()
        self.namespace.enter()
        self.root = Path(copies.get(self.root.mount, self.root.mount), self.root.dentry)
        self.cwd = Path(copies.get(self.cwd.mount, self.cwd.mount), self.cwd.dentry)
        left.leave()
