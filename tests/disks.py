"""Small disks of their own, really mounted, that tests fill up; only root can have them."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


@contextlib.contextmanager
def mounted_or_skipped(mount: Path, kind: str, *arguments: object) -> Iterator[Path]:
    """Mount a disk as `mounted` does; where there is none to be had, skip the test."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(mounted(mount, kind, *arguments))  # type: ignore[arg-type]
        except CannotMount as error:
            pytest.skip(str(error))
        yield mount


def fill(disk: Path, leave_bytes: int = 0) -> Path:
    """Take all the room that a disk has, but for so many bytes; the file that has it."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (65_536, 4096, 512, 1):
            try:
                while free_bytes(disk) - size >= leave_bytes and file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return filler


def free_bytes(disk: Path) -> int:
    """Return how much of a disk is free."""
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize
