"""Credentials of a task (credentials(7), capabilities(7)): immutable, replaced as a whole.

There is one user namespace: ids are the container's own and mean nothing to the host.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from pysc.cabi.linux.capability import (
    ALL_CAPS,
    CAP_DAC_OVERRIDE,
    CAP_DAC_READ_SEARCH,
    FS_CAPS,
    SECBIT_KEEP_CAPS,
    SECBIT_NO_SETUID_FIXUP,
    SECBIT_NOROOT,
)
from pysc.sentry.platform.interface import Access

NO_ID: Final = 0xFFFF_FFFF
"""-1 as an id: leave unchanged."""


class Credentials(msgspec.Struct, frozen=True):
    """What a task may do.  ``permitted`` … ``ambient`` are bit sets by CAP_* number."""

    uid: int = 0
    gid: int = 0
    euid: int = 0
    egid: int = 0
    suid: int = 0
    sgid: int = 0
    fsuid: int = 0
    fsgid: int = 0
    groups: tuple[int, ...] = ()
    """Supplementary groups, sorted."""
    permitted: int = 0
    effective: int = 0
    inheritable: int = 0
    bounding: int = ALL_CAPS
    ambient: int = 0
    securebits: int = 0
    no_new_privs: bool = False

    @classmethod
    def of(cls, uid: int, gid: int, groups: tuple[int, ...] = (), caps: int = 0) -> Credentials:
        """Return credentials with all user and group ids the same and one capability set for all but ambient."""
        return cls(
            uid, gid, uid, gid, uid, gid, uid, gid, tuple(sorted(set(groups))), caps, caps, caps, caps, 0, 0, False
        )

    @property
    def access(self) -> Access:
        """What fast paths check permissions by."""
        return Access(
            fsuid=self.fsuid,
            fsgid=self.fsgid,
            has_groups=bool(self.groups),
            override=self.has_capability(CAP_DAC_OVERRIDE),
            read_search=self.has_capability(CAP_DAC_READ_SEARCH),
            real=self.fsuid == self.uid and self.fsgid == self.gid,
            privileged=self.uid == 0,
        )

    def has_capability(self, cap: int) -> bool:
        """Whether CAP_* number ``cap`` is effective."""
        return bool(self.effective >> cap & 1)

    def in_group(self, gid: int) -> bool:
        """Whether the filesystem gid or a supplementary group is ``gid``."""
        return gid == self.fsgid or gid in self.groups

    def with_uids(self, uid: int, euid: int, suid: int) -> Credentials:
        """Change the user ids (fsuid follows euid), and the capabilities as that requires (capabilities(7))."""
        changed = replace(self, uid=uid, euid=euid, suid=suid, fsuid=euid)
        if self.securebits & SECBIT_NO_SETUID_FIXUP:
            return changed
        permitted, effective, ambient = self.permitted, self.effective, self.ambient
        had_root = 0 in (self.uid, self.euid, self.suid)
        if had_root and 0 not in (uid, euid, suid):
            if not self.securebits & SECBIT_KEEP_CAPS:
                permitted = effective = 0
            ambient = 0
        if self.euid == 0 and euid != 0:
            effective = 0
        elif self.euid != 0 and euid == 0:
            effective = permitted
        return replace(changed, permitted=permitted, effective=effective, ambient=ambient)

    def with_gids(self, gid: int, egid: int, sgid: int) -> Credentials:
        """Change the group ids; fsgid follows egid."""
        return replace(self, gid=gid, egid=egid, sgid=sgid, fsgid=egid)

    def with_fsuid(self, fsuid: int) -> Credentials:
        """Change the filesystem uid, and its capabilities with it (setfsuid(2))."""
        effective = self.effective
        if not self.securebits & SECBIT_NO_SETUID_FIXUP:
            if self.fsuid == 0 and fsuid != 0:
                effective &= ~FS_CAPS
            elif self.fsuid != 0 and fsuid == 0:
                effective |= self.permitted & FS_CAPS
        return replace(self, fsuid=fsuid, effective=effective)

    def after_exec(self, mode: int, owner: int, group: int, *, nosuid: bool) -> Credentials:
        """Return the credentials of a program with this mode and owner, executed by these (no file capabilities)."""
        euid, egid = self.euid, self.egid
        if not nosuid and not self.no_new_privs:
            if mode & 0o4000:
                euid = owner
            if mode & 0o2010 == 0o2010:
                egid = group
        privileged = (euid, egid) != (self.euid, self.egid)
        ambient = 0 if privileged else self.ambient
        file_permitted = file_inheritable = 0
        file_effective = False
        if not self.securebits & SECBIT_NOROOT and 0 in (self.uid, euid):
            file_permitted = file_inheritable = ALL_CAPS
            file_effective = euid == 0
        permitted = (self.inheritable & file_inheritable) | (file_permitted & self.bounding) | ambient
        if self.no_new_privs:
            permitted &= self.permitted | self.inheritable
        return replace(
            self,
            euid=euid,
            egid=egid,
            suid=euid,
            sgid=egid,
            fsuid=euid,
            fsgid=egid,
            permitted=permitted,
            effective=permitted if file_effective else ambient,
            ambient=ambient,
            securebits=self.securebits & ~SECBIT_KEEP_CAPS,
        )

    def is_secure_exec(self, before: Credentials) -> bool:
        """Whether a program that got these from ``before`` runs with AT_SECURE."""
        if (self.euid, self.egid) != (self.uid, self.gid):
            return True
        return self.uid != 0 and bool(self.permitted & ~before.permitted)
