"""How Python and the C library run in a process that moves many small things through a few threads."""

import ctypes
import gc
import sys

#: objects made and not freed, after which Python looks for cycles among the youngest (its own: 700)
GARBAGE_AFTER = 50_000
#: seconds after which a thread that waits for the interpreter gets it (Python's own: 0.005)
SWITCH_S = 0.001
#: the same where statements are run by a process beside: each change of threads costs what the processor had at hand
SWITCH_BESIDE_S = 0.005
#: glibc's number for the most arenas of malloc (malloc.h, M_ARENA_MAX)
_ARENA_MAX = -8


def tune() -> None:
    """Set the process up; once, before its threads begin."""
    # Events make no cycles, and there are thousands of them at any moment: looking for cycles took a third of the time.
    gc.set_threshold(GARBAGE_AFTER)
    switch(is_beside=False)
    _use_one_arena()


def switch(*, is_beside: bool) -> None:
    """Hand the interpreter over as fits a process that runs statements, or that has one beside it for that."""
    # SQLite's statements are run without the interpreter; 5 ms of waiting for it after each were a sixth of the time.
    sys.setswitchinterval(SWITCH_BESIDE_S if is_beside else SWITCH_S)


def _use_one_arena() -> None:
    """Glibc gives each thread a heap of its own, and what one frees the others cannot use: 10 MB that way."""
    if sys.platform != "linux":
        return
    try:
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)
    except (AttributeError, OSError):
        return  # another C library
