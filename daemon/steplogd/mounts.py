"""Which file system a path lies on, from the mount table, and whether it is another machine's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

_TABLE: Final = Path("/proc/self/mountinfo")

_REMOTE: Final = frozenset(
    "9p acfs afs beegfs beegfs_nodev ceph cifs coda cvfs davfs dvs exfs gfs gfs2 "
    "glusterfs gpfs kafs lustre mfs ncpfs nfs nfs4 ocfs2 orangefs panfs prl_fs pvfs2 quobyte "
    "smb2 smb3 smbfs vboxsf virtiofs vmhgfs weka wekafs".split()
)
"""What another machine writes there, the kernel of this one tells nobody of, or not at once; and
few of them promise that appends of two machines do not interleave."""

_LOCAL_FUSE: Final = frozenset(
    "apfs-fuse bindfs ecryptfs encfs ext2 ext4 fuseblk fuse-overlayfs gocryptfs lxcfs mergerfs "
    "ntfs ntfs-3g overlayfs portal rofiles-fuse snapfuse squashfuse unionfs zfs-fuse".split()
)
"""What runs in a process of this machine over its own disk; any other `fuse.…` leads anywhere."""

_ESCAPE: Final = re.compile(rb"\\([0-7]{3})")
_SEPARATOR: Final = b" - "


class Mount(NamedTuple):
    """A line of the mount table: where, and of what type."""

    point: Path
    type: str

    @property
    def is_remote(self) -> bool:
        """Whether others than this machine may write to it."""
        kind, _, helper = self.type.partition(".")
        if kind == "fuse" and helper:
            return helper not in _LOCAL_FUSE
        return kind in _REMOTE


def parse(table: bytes) -> list[Mount]:
    """Return the mounts of a table as `/proc/self/mountinfo` has it; lines that are none are left.

    A line reads `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELD…] - TYPE SOURCE OPTIONS`, where
    spaces, tabs, LFs and backslashes in names are written as three octal digits.
    """
    mounts = []
    for line in table.split(b"\n"):
        before, separator, after = line.partition(_SEPARATOR)
        fields, told = before.split(b" "), after.split(b" ")
        if separator and len(fields) >= 6 and len(told) >= 2:
            mounts.append(Mount(Path(_text(fields[4])), _text(told[0])))
    return mounts


def mount_of(path: Path, mounts: list[Mount]) -> Mount | None:
    """Return what a path without links lies on: the deepest mount, the last one over the others."""
    found: Mount | None = None
    for mount in mounts:
        is_deeper = found is None or len(mount.point.parts) >= len(found.point.parts)
        if is_deeper and path.is_relative_to(mount.point):
            found = mount
    return found


def remote_mount(folder: Path) -> Mount | None:
    """Return the mount that a folder lies on when others than this machine may write there.

    The folder need not exist yet. Where there is no mount table to be read, nothing is known.
    """
    mount = mount_under(folder)
    return mount if mount is not None and mount.is_remote else None


def mount_under(folder: Path) -> Mount | None:
    """Return the mount that a folder lies on, which need not exist; None where nothing is known."""
    try:
        return mount_of(folder.resolve(), parse(_TABLE.read_bytes()))
    except (OSError, RuntimeError):  # a loop of links is a RuntimeError
        return None


def warning(folder: Path, mount: Mount) -> str:
    """Say in one sentence what a home on a file system of others' means."""
    return (
        f"{folder} lies on a network file system ({mount.type} at {mount.point}), where lines that "
        "several machines append may interleave and no notification comes: it is looked at every "
        "second; a home on a local disk is better"
    )


def _text(field: bytes) -> str:
    plain = _ESCAPE.sub(lambda digits: bytes([int(digits[1], 8) & 0xFF]), field)
    return plain.decode("utf-8", "surrogateescape")
