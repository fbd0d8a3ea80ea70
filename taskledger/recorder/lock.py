"""A folder for one process at a time."""

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path

#: what is locked in it
NAME = "lock"
#: how often somebody else may remove the folder while we lock it, before it must be something else
TRIES = 1000


def take(folder: Path) -> int | None:
    """Lock that folder until `release`, or until the process ends; None when another process has it.

    Makes the folder, if it is not there. Raises OSError when it cannot be written.
    """
    for _ in range(TRIES):
        file = _open(folder)
        if file is None:
            continue
        try:
            _lock(file)
        except (BlockingIOError, PermissionError):
            os.close(file)
            return None
        if _is_at(file, folder / NAME):
            return file
        os.close(file)  # Whoever had it removed the folder just now.
    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))


def release(file: int) -> None:
    os.close(file)


def remove(file: int, folder: Path) -> None:
    """Release it, and the folder goes, if there is nothing else in it."""
    if [path.name for path in folder.iterdir()] == [NAME]:
        # Where an open file cannot be removed, as on Windows, the folder stays.
        with suppress(OSError):
            (folder / NAME).unlink()
            folder.rmdir()
    os.close(file)


def _open(folder: Path) -> int | None:
    """The file to lock; None if somebody removed the folder at the same moment."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(folder / NAME, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    except FileNotFoundError:
        return None
    except FileExistsError:
        if folder.exists() and not folder.is_dir():
            raise
        return None


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
