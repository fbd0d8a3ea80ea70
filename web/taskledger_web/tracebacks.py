"""A traceback as people read it: the application's frames open, the libraries' folded, the exception last."""

import re
from dataclasses import dataclass

from taskledger_web.text import shortened

#: characters kept of a traceback's start and end; the end holds the exception
HEAD, TAIL = 12_000, 36_000
_FRAME = re.compile(r'^\s+File "(?P<path>.*?)", line (?P<line>\d+)(?:, in (?P<name>.*))?$')
_PACKAGE = re.compile(r"(?:site|dist)-packages[/\\](?P<name>[^/\\.]+)")
_STANDARD = re.compile(r"[/\\]lib[/\\]python\d|^<frozen ")


@dataclass(frozen=True, slots=True)
class Block:
    """Lines that belong together. `kind`: application, library, error or text; `title` names what is folded."""

    kind: str
    text: str
    title: str = ""


def blocks(traceback: str) -> tuple[Block, ...]:
    """The parts of a traceback in order, neighbouring library frames merged into one."""
    text, _ = shortened(traceback.rstrip(), HEAD, TAIL)
    merged: list[list[tuple[str, str, str]]] = []
    for part in _parts(text.split("\n")):
        if merged and part[0] == merged[-1][0][0] == "library":
            merged[-1].append(part)
        else:
            merged.append([part])
    return tuple(_block(parts) for parts in merged)


def _parts(lines: list[str]) -> list[tuple[str, str, str]]:
    """(kind, text, package) of each frame and of each line between them."""
    found: list[tuple[str, list[str], str]] = []
    for line in lines:
        frame = _FRAME.match(line)
        if frame:
            kind, package = _origin(frame["path"])
            found.append((kind, [line], package))
        elif found and found[-1][0] in ("application", "library") and line[:1].isspace():
            found[-1][1].append(line)
        else:
            found.append(("error" if _is_error(line) else "text", [line], ""))
    return [(kind, "\n".join(text), package) for kind, text, package in found]


def _origin(path: str) -> tuple[str, str]:
    """(kind, package) of a frame's file."""
    if package := _PACKAGE.search(path):
        return "library", package["name"]
    return ("library", "Python") if _STANDARD.search(path) else ("application", "")


def _is_error(line: str) -> bool:
    return bool(re.match(r"[A-Za-z_][\w.]*(?::|$)", line)) and not line.startswith("Traceback ")


def _block(parts: list[tuple[str, str, str]]) -> Block:
    kind, text = parts[0][0], "\n".join(text for _, text, _ in parts)
    if kind != "library":
        return Block(kind, text)
    packages = list(dict.fromkeys(package for _, _, package in parts))
    return Block(kind, text, f"{len(parts)} frame{'s' if len(parts) > 1 else ''} in {', '.join(packages)}")
