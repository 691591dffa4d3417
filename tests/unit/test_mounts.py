"""The mount table, and what of it belongs to other machines as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from steplogd import mounts
from steplogd.__main__ import main
from steplogd.mounts import Mount, mount_of, parse, remote_mount

TABLE = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro
40 27 0:35 / /home rw,relatime shared:20 master:3 - nfs4 filer:/export/home rw,vers=4.2
41 40 0:36 / /home/anna/local\040disk rw,relatime - xfs /dev/sdb1 rw
42 27 259:2 /srv/spools /home/anna/bound rw,relatime - ext4 /dev/nvme0n1p2 rw
43 27 0:37 / /mnt/tab\011lf\012back\134slash rw - cifs //nas/share rw
44 27 0:38 / /scratch rw,relatime - lustre 10.0.0.3@tcp:/scratch rw,flock
45 27 0:39 / /mnt/ssh rw,nosuid,nodev - fuse.sshfs anna@box:/data rw,user_id=0
46 27 0:40 / /mnt/ntfs rw - fuse.ntfs-3g /dev/sdc1 rw
47 27 8:17 / /mnt/usb rw - fuseblk /dev/sdd1 rw
48 27 0:41 / /mnt/over rw - nfs filer:/old rw
49 48 0:42 / /mnt/over rw - tmpfs tmpfs rw
50 27 0:43 / /mnt/latin\377 rw - 9p host rw
51 27 0:44 / /nowhere rw
garbage
"""


@pytest.mark.parametrize(
    ("path", "kind", "is_remote"),
    [
        ("/var/lib/steplog", "ext4", False),
        ("/home", "nfs4", True),
        ("/home/anna/.local/state/steplog", "nfs4", True),
        ("/homes/anna", "ext4", False),
        ("/home/anna/local disk/steplog", "xfs", False),
        ("/home/anna/bound/spool", "ext4", False),
        ("/mnt/tab\tlf\nback\\slash/spool", "cifs", True),
        ("/scratch/anna", "lustre", True),
        ("/mnt/ssh/steplog", "fuse.sshfs", True),
        ("/mnt/ntfs", "fuse.ntfs-3g", False),
        ("/mnt/usb", "fuseblk", False),
        ("/mnt/over/steplog", "tmpfs", False),
        ("/mnt/latin\udcff/steplog", "9p", True),
        ("/nowhere", "ext4", False),
    ],
)
def test_a_path_lies_on_the_deepest_mount(path: str, kind: str, is_remote: bool) -> None:
    """The last one of those that cover one another; what is no line is left."""
    mount = mount_of(Path(path), parse(TABLE))

    assert mount is not None
    assert (mount.type, mount.is_remote) == (kind, is_remote)


@pytest.mark.parametrize(
    "kind",
    (
        "nfs smb3 smbfs ceph glusterfs fuse.glusterfs beegfs gpfs afs ocfs2 gfs2 virtiofs "
        "fuse.s3fs fuse.rclone fuse.juicefs"
    ).split(),
)
def test_file_systems_of_several_machines_are_known(kind: str) -> None:
    """And each FUSE of which nothing better is known."""
    assert Mount(Path("/"), kind).is_remote


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuse", "fuse.mergerfs"]
)
def test_file_systems_of_this_machine_are_no_matter(kind: str) -> None:
    """Whoever warns of these is not listened to any more."""
    assert not Mount(Path("/"), kind).is_remote


def test_nothing_is_known_without_a_table(tmp_path: Path, monkeypatch: Any) -> None:
    """Nor of a path whose links lead in a circle."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert remote_mount(tmp_path / "loop" / "spool") is None

    monkeypatch.setattr(mounts, "_TABLE", tmp_path / "absent")
    assert remote_mount(tmp_path) is None


def test_this_machine_has_a_table_that_can_be_read() -> None:
    """The root is in it."""
    found = mount_of(Path("/"), parse(Path("/proc/self/mountinfo").read_bytes()))

    assert found is not None
    assert found.point == Path("/")


def test_a_link_is_followed_to_where_the_home_lies(tmp_path: Path, monkeypatch: Any) -> None:
    """A home may be a link to another disk."""
    (tmp_path / "table").write_bytes(b"1 0 0:1 / %b rw - nfs a:/ rw\n" % bytes(tmp_path / "far"))
    (tmp_path / "far").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "far")
    monkeypatch.setattr(mounts, "_TABLE", tmp_path / "table")

    found = remote_mount(tmp_path / "home" / "spool")

    assert found is not None
    assert found.type == "nfs"


def test_check_warns_of_a_network_file_system(home: Path, monkeypatch: Any, capsys: Any) -> None:
    """In one sentence, and the configuration is right all the same."""
    table = home.parent / "table"
    table.write_bytes(b"1 0 0:1 / / rw - nfs4 filer:/export rw\n")
    monkeypatch.setattr(mounts, "_TABLE", table)

    with pytest.raises(SystemExit) as exited:
        main(["check"])

    assert exited.value.code == 0
    first, second = capsys.readouterr().out.splitlines()
    assert ": ok; home " in first
    assert second.startswith(f"warning: {home / 'spool'} lies on a network file system (nfs4 at /)")
