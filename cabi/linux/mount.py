"""Flags of mount(2) and umount2(2), flags of statfs(2), magic numbers of file systems."""

from __future__ import annotations

from typing import Final

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_SYNCHRONOUS: Final = 16
MS_REMOUNT: Final = 32
MS_NOATIME: Final = 1024
MS_NODIRATIME: Final = 2048
MS_BIND: Final = 4096
MS_MOVE: Final = 8192
MS_REC: Final = 16384
MS_SILENT: Final = 32768
MS_UNBINDABLE: Final = 1 << 17
MS_PRIVATE: Final = 1 << 18
MS_SLAVE: Final = 1 << 19
MS_SHARED: Final = 1 << 20
MS_RELATIME: Final = 1 << 21
MS_STRICTATIME: Final = 1 << 24
MS_PROPAGATION: Final = MS_UNBINDABLE | MS_PRIVATE | MS_SLAVE | MS_SHARED
MS_MGC_VAL: Final = 0xC0ED0000
MS_MGC_MSK: Final = 0xFFFF0000

MS_PER_MOUNT: Final = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME
"""What a mount keeps for itself, and a remount can change."""

MNT_FORCE: Final = 1
MNT_DETACH: Final = 2
MNT_EXPIRE: Final = 4
UMOUNT_NOFOLLOW: Final = 8

ST_RDONLY: Final = 1
ST_NOSUID: Final = 2
ST_NODEV: Final = 4
ST_NOEXEC: Final = 8
ST_VALID: Final = 0x20
ST_NOATIME: Final = 0x400
ST_NODIRATIME: Final = 0x800
ST_RELATIME: Final = 0x1000

TMPFS_MAGIC: Final = 0x01021994
PROC_SUPER_MAGIC: Final = 0x9FA0
SYSFS_MAGIC: Final = 0x62656572
DEVPTS_SUPER_MAGIC: Final = 0x1CD1
OVERLAYFS_SUPER_MAGIC: Final = 0x794C7630
EXT4_SUPER_MAGIC: Final = 0xEF53
CGROUP_SUPER_MAGIC: Final = 0x27E0EB
CGROUP2_SUPER_MAGIC: Final = 0x63677270
ANON_INODE_FS_MAGIC: Final = 0x09041934
PIPEFS_MAGIC: Final = 0x50495045
SOCKFS_MAGIC: Final = 0x534F434B
MQUEUE_MAGIC: Final = 0x19800202
