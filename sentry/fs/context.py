"""What CLONE_FS shares: root, working directory, umask (struct fs_struct)."""

from __future__ import annotations

from pysc.sentry.fs.path import MountNamespace, Path


class FsContext:
    """Where paths start for some tasks.  The root's mount says which mount namespace they are in."""

    __slots__ = ("cwd", "root", "umask", "users")

    def __init__(self, root: Path, cwd: Path | None = None, umask: int = 0o022) -> None:
        self.root = root
        self.cwd = root if cwd is None else cwd
        self.umask = umask
        self.users = 1
        """Tasks that share it."""

    @property
    def namespace(self) -> MountNamespace:
        """The mount namespace."""
        namespace = self.root.mount.namespace
        assert namespace is not None, "the root of a task is never detached from its namespace"
        return namespace

    def copy(self) -> FsContext:
        """Return an unshared copy (fork)."""
        return FsContext(self.root, self.cwd, self.umask)

    def unshare_namespace(self) -> None:
        """Go on in a copy of the mount namespace (CLONE_NEWNS); the context must not be shared."""
        _namespace, copies = self.namespace.copy()
        self.root = Path(copies.get(self.root.mount, self.root.mount), self.root.dentry)
        self.cwd = Path(copies.get(self.cwd.mount, self.cwd.mount), self.cwd.dentry)
