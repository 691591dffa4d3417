"""The attacker program: plants, cuts, flips, truncates and replaces spools of its own, at random.

    python -m tests.torture.attacking SPOOL_FOLDER OUTSIDE SEED

It prints the name of each attack that it has carried out, and goes on until it is killed. Its
spools are `h0.jsonl` and so on; those of others it only reads. Nothing that it does follows a link.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SPOOLS: Final = 8
_MAX_BYTES: Final = 4 * 1024 * 1024
_ENDLESS_BYTES: Final = 64 * 1024 * 1024
_PAUSE_SECONDS: Final = 0.01
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_GOOD: Final = b'{"t":"track","values":{"hostile":1}}\n'
_PIECES: Final = (
    b"x\n" * 5_000,
    b"\0" * 10_000,
    b"[" * 500_000 + b"\n",
    b'{"t":"track","values":{"a":' + b"7" * 100_000 + b"}}\n",
    b'{"t":"track","values":{"\xff":"\\ud800"}}\n',
    b'{"t":"open","format":2}\n{"t":"open","format":"x"}\n{"t":"later","n":1e9}\n',
    b'{"t":"track","values":{"a":1,"a":2}}\n' * 100,
    b'{"t":"' * 1_000,
    _GOOD[:20],
    _GOOD * 100,
)


class Attacker:
    """Carries out one attack at a time, on spools of its own in a folder."""

    def __init__(self, folder: Path, outside: Path, seed: str) -> None:
        self._folder = folder
        self._outside = outside
        self._random = random.Random(seed)

    def attack(self) -> str:
        """Do something hostile; return what it was."""
        name, act = self._random.choice(list(ATTACKS.items()))
        path = self._folder / f"h{self._random.randrange(SPOOLS)}.jsonl"
        act(self, path)
        return name

    def append(self, path: Path) -> None:
        """Append garbage, and valid lines among it."""
        with self._opened(path) as fd:
            os.lseek(fd, 0, os.SEEK_END)
            os.write(fd, self._random.choice(_PIECES))

    def append_endless(self, path: Path) -> None:
        """Append much without an LF, which takes no room on the disk."""
        with self._opened(path) as fd:
            os.ftruncate(fd, os.fstat(fd).st_size + _ENDLESS_BYTES)
            os.pwrite(fd, _GOOD, os.fstat(fd).st_size)

    def copy(self, path: Path) -> None:
        """Append a piece of somebody else's spool, from any byte to any other."""
        others = sorted(self._folder.glob("r*.jsonl"))
        whole = self._random.choice(others).read_bytes()[-_MAX_BYTES:]
        begin, end = sorted(self._random.randrange(len(whole) + 1) for _ in range(2))
        with self._opened(path) as fd:
            os.lseek(fd, 0, os.SEEK_END)
            os.write(fd, whole[begin:end])

    def cut(self, path: Path) -> None:
        """Truncate at any byte."""
        with self._opened(path) as fd:
            os.ftruncate(fd, self._random.randrange(os.fstat(fd).st_size + 1))

    def flip(self, path: Path) -> None:
        """Flip a bit of any byte."""
        with self._opened(path) as fd:
            at = self._random.randrange(os.fstat(fd).st_size + 1)
            (byte,) = os.pread(fd, 1, at) or b"\0"
            os.pwrite(fd, bytes([byte ^ 1 << self._random.randrange(8)]), at)

    def replace(self, path: Path) -> None:
        """Put another file in its place, of any size."""
        other = self._folder / "other"
        other.write_bytes(_GOOD * self._random.randrange(1_000))
        self._clear(path)
        other.replace(path)

    def delete(self, path: Path) -> None:
        """Delete it, whatever it is."""
        self._clear(path)

    def plant_link(self, path: Path) -> None:
        """Plant a link to where nobody has any business, or to itself."""
        aims = [self._outside / "secret", self._outside, Path("/etc/shadow"), Path("/dev/zero")]
        self._clear(path)
        path.symlink_to(self._random.choice([*aims, path]))

    def plant_other(self, path: Path) -> None:
        """Plant a folder, or a pipe."""
        self._clear(path)
        self._random.choice([os.mkdir, os.mkfifo])(path)

    def plant_junk(self, _: Path) -> None:
        """Plant files whose names no run can have."""
        for _number in range(100):
            name = b"junk \xff\n\x1b[31m%d" % self._random.getrandbits(32)
            os.close(os.open(os.path.join(bytes(self._folder), name), _FLAGS, 0o600))  # noqa: PTH118

    @contextlib.contextmanager
    def _opened(self, path: Path) -> Iterator[int]:
        if not _is_file(path):
            self._clear(path)
        fd = os.open(path, _FLAGS, 0o600)
        try:
            if os.fstat(fd).st_size > _MAX_BYTES + _ENDLESS_BYTES:
                os.ftruncate(fd, 0)
            yield fd
        finally:
            os.close(fd)

    def _clear(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


ATTACKS: Final[dict[str, Callable[[Attacker, Path], None]]] = {
    "garbage appended": Attacker.append,
    "a line without end": Attacker.append_endless,
    "lines of another run": Attacker.copy,
    "spool truncated": Attacker.cut,
    "bit flipped": Attacker.flip,
    "spool replaced": Attacker.replace,
    "spool deleted": Attacker.delete,
    "link planted": Attacker.plant_link,
    "folder or pipe planted": Attacker.plant_other,
    "100 junk files": Attacker.plant_junk,
}


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return True  # it can be one


def main(folder: str, outside: str, seed: str) -> None:
    """Attack for as long as nobody kills it."""
    attacker = Attacker(Path(folder), Path(outside), seed)
    while True:
        os.write(1, f"{attacker.attack()}\n".encode())
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main(*sys.argv[1:])
