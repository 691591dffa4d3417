"""Small disks of their own, really mounted, that tests fill up; only root can have them."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

MEBIBYTE = 1024 * 1024


class CannotMount(Exception):
    """No disk can be mounted by this user, or on this machine; the text says why."""


@contextlib.contextmanager
def mounted(
    mount: Path, kind: str, size_bytes: int = MEBIBYTE, *options: str, flags: str = ""
) -> Iterator[Path]:
    """Mount a disk of its own for as long as the block lasts; what still uses it then is cut off.

    Args:
        mount: Where; made when absent.
        kind: `tmpfs` or `ext4`.
        size_bytes: How large it is.
        options: Of `mkfs.ext4`.
        flags: Of the mount.

    Raises:
        CannotMount: There are no such disks to be had.
    """
    if os.geteuid() != 0:
        raise CannotMount("only root can mount a small disk")
    mount.mkdir(parents=True, exist_ok=True)
    if kind == "tmpfs":
        command = ["-t", "tmpfs", "-o", f"size={size_bytes}{flags and ','}{flags}", "none"]
    else:
        image = mount.with_name(f"{mount.name}.image")
        with image.open("wb") as file:
            file.truncate(size_bytes)
        quiet = ["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", *options, str(image)]
        subprocess.run(quiet, check=True)
        command = ["-o", f"loop{flags and ','}{flags}", str(image)]
    done = subprocess.run(
        ["mount", *command, mount], capture_output=True, text=True, check=False, timeout=30
    )
    if done.returncode != 0:
        raise CannotMount(f"cannot mount a small disk here: {done.stderr.strip()}")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", mount], check=True, timeout=30)


def make_read_only(disk: Path) -> None:
    """Let an ext4 file system meet an error, by which it is read-only from now on.

    What was written before is on the device. It must be mounted with `errors=remount-ro`.
    """
    os.sync()
    device = os.stat(disk).st_dev  # noqa: PTH116
    name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
    Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("1")


def mount_again(disk: Path, flags: str = "errors=remount-ro") -> None:
    """Mount an ext4 file system anew, as soon as nobody uses it any more."""
    unmount = ["umount", str(disk)]
    wait_until(lambda: subprocess.run(unmount, capture_output=True, check=False).returncode == 0)
    image = str(disk.with_name(f"{disk.name}.image"))
    subprocess.run(["mount", "-o", f"loop,{flags}", image, disk], check=True, timeout=30)


@contextlib.contextmanager
def mounted_or_skipped(
    mount: Path, kind: str, size_bytes: int = MEBIBYTE, *options: str, flags: str = ""
) -> Iterator[Path]:
    """Mount a disk as `mounted` does; where there is none to be had, skip the test."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(mounted(mount, kind, size_bytes, *options, flags=flags))
        except CannotMount as error:
            pytest.skip(str(error))
        yield mount


def fill(disk: Path, leave_bytes: int = 0) -> Path:
    """Take all the room that a disk has, but for so many bytes; the file that has it."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (65_536, 4096, 512, 1, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while free_bytes(disk) - size >= leave_bytes and file.write(b"x" * size) == size:
                    pass
            with contextlib.suppress(OSError):
                os.fsync(file.fileno())  # ext4 sets more aside than is needed in the end
    return filler


def use_up_files(disk: Path) -> list[Path]:
    """Make empty files until no further one can be made; they take no room otherwise."""
    made: list[Path] = []
    with contextlib.suppress(OSError):
        while True:
            path = disk / f"empty-{len(made)}"
            path.touch()
            made.append(path)
    return made


def free_bytes(disk: Path) -> int:
    """Return how much of a disk is free."""
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize
