"""A folder for one process at a time."""

import os
import sys
from pathlib import Path


def take(folder: Path) -> int | None:
    """Lock that folder until `release`, or until the process ends; None when another process has it.

    Raises OSError when the folder cannot be written.
    """
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        _lock(file)
    except (BlockingIOError, PermissionError):
        os.close(file)
        return None
    return file


def release(file: int) -> None:
    os.close(file)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
