"""Which runs failed in the same way: class, message and innermost application frame of a failure, and a fingerprint."""

import re
from hashlib import blake2b
from typing import NamedTuple

#: Version of the grouping rule; a new rule gets a new number so that old groups keep their meaning.
RULE = 1

#: characters of a title
MAX_TITLE_CHARS = 300

_FRAME = re.compile(r'^\s*File "(?P<path>[^"\n]+)", line (?P<line>\d+), in (?P<function>.+)$', re.MULTILINE)
_LIBRARY = re.compile(
    r"site-packages|dist-packages|[/\\]lib[/\\]python\d|<frozen |[/\\]celery[/\\](app|worker|utils|canvas)"
)
_INSTALLED = re.compile(r"site-packages|dist-packages")
_MACHINERY = re.compile(r"[/\\](celery|kombu|billiard|amqp|vine)[/\\]")
_LAST_LINE = re.compile(r"^(?P<cls>[A-Za-z_][\w.]*)(?:: (?P<message>.*))?$", re.DOTALL)
_REPR = re.compile(r"^(?P<cls>[A-Za-z_][\w.]*)\((?P<message>.*)\)$", re.DOTALL)
# What differs between two failures of the same kind: quoted values, ids, numbers, paths.
_VARIABLE = re.compile(
    r"'[^']*'|\"[^\"]*\""
    r"|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
    r"|\b0x[0-9a-fA-F]+\b|\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{8,}\b"
    r"|(?:[A-Za-z]:)?(?:[/\\][\w.\-]+){2,}"
    r"|\d+(?:\.\d+)?"
)
_LINE = re.compile(r":\d+ in ")
_RETRY = "celery.exceptions.Retry"
#: "Retry in 2s: ValueError('x')" (celery/exceptions.py, Retry.__str__)
_CAUSE = re.compile(r": (?P<cause>[A-Za-z_][\w.]*\(.*)$", re.DOTALL)
_CHAIN = re.compile(r"\n(?:During handling of the above exception|The above exception was the direct cause)")
#: errors of Python that quote a name of the program, not a value
_NAMING = frozenset(
    {"KeyError", "AttributeError", "NameError", "UnboundLocalError", "ImportError", "ModuleNotFoundError"}
)
_IDENTIFIER = re.compile(r"'[A-Za-z_][A-Za-z_.]{0,60}'")
# Celery's stand-in when the real exception could not be pickled or the child was killed: it says nothing.
_EMPTY = frozenset({"ExceptionWithTraceback", "ExceptionInfo", "UnpickleableExceptionWrapper"})


class Failure(NamedTuple):
    """One failure: short class name, message and innermost application frame ("proj.py:35 in charge")."""

    cls: str
    message: str
    frame: str | None

    @property
    def title(self) -> str:
        """Class and message with what varies replaced by `*`."""
        message = _VARIABLE.sub(self._star, self.message).strip()
        return (f"{self.cls}: {message}" if message else self.cls)[:MAX_TITLE_CHARS]

    def _star(self, found: re.Match[str]) -> str:
        """A star for what varies; the names that Python itself quotes in an error are the error."""
        return found[0] if self.cls in _NAMING and _IDENTIFIER.fullmatch(found[0]) else "*"

    @property
    def text(self) -> str:
        """Class and message as people write them."""
        return f"{self.cls}: {self.message}" if self.message else self.cls


def describe(exception: str | None, traceback: str | None) -> Failure:
    """The failure that Celery's `exception` (a repr) and `traceback` (text) tell of.

    The last line of the traceback wins: for a killed child or a hard time limit the repr is the empty
    `ExceptionWithTraceback()`, while the traceback still names the class.
    """
    trace = traceback or ""
    cls, message = _last_line(trace) or _repr(exception or "")
    if cls == _RETRY:
        # The traceback of a retry ends in Celery's own Retry; what went wrong stands in its message, before the chain.
        told = _CAUSE.search(message)
        cls, message = _repr(told["cause"] if told else exception or "")
        trace = _CHAIN.split(trace)[0]
    return Failure(cls.rpartition(".")[2] or "Error", message, _frame(trace))


def fingerprint(task_name: str | None, failure: Failure, title: str | None = None) -> bytes:
    """16 bytes, equal for failures of one task with the same class, message shape and frame (line numbers aside).

    `title` is the failure's, where it is at hand: it takes longer than all the rest.
    """
    frame = _LINE.sub(" in ", failure.frame or "")
    parts = (str(RULE), task_name or "", failure.cls, failure.title if title is None else title, frame)
    return blake2b("\x1f".join(parts).encode("utf-8", "backslashreplace"), digest_size=16).digest()


def _last_line(traceback: str) -> tuple[str, str] | None:
    """Class and message after the last frame; a message may go on over several lines."""
    frames = list(_FRAME.finditer(traceback))
    if not frames and not traceback.strip():
        return None
    lines = traceback[frames[-1].end() if frames else 0 :].strip("\n").split("\n")
    start = next((n for n, line in enumerate(lines) if line[:1].strip() and not line.startswith("Traceback")), None)
    found = _LAST_LINE.match("\n".join(lines[start:]).strip()) if start is not None else None
    return (found["cls"], found["message"] or "") if found else None


def _repr(exception: str) -> tuple[str, str]:
    found = _REPR.match(exception.strip())
    if not found:
        return ("Error", exception.strip())
    if found["cls"] in _EMPTY:
        return (found["cls"], "")
    message = found["message"].strip().rstrip(",")
    if len(message) > 1 and message[0] in "'\"" and message[-1] == message[0]:
        message = message[1:-1]
    return (found["cls"], message)


def _frame(traceback: str) -> str | None:
    """The innermost frame of the application; of one that is itself installed, the innermost that is not Celery's."""
    frames = list(_FRAME.finditer(traceback))[::-1]
    own = [found for found in frames if not _LIBRARY.search(found["path"])]
    installed = [found for found in frames if _INSTALLED.search(found["path"]) and not _MACHINERY.search(found["path"])]
    for found in (own or installed)[:1]:
        file = re.split(r"[/\\]", found["path"])[-1]
        return f"{file}:{found['line']} in {found['function'].strip()}"[:255]
    return None
