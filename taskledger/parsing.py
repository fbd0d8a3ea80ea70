"""Texts into values: what each setting allows; ValueError("must be …") says it to people."""

import re
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

#: name of the only cluster when the broker's URL has none in front
DEFAULT_CLUSTER = "default"
#: what events may be written in (event_serializer)
SERIALIZERS = frozenset({"json", "msgpack", "yaml"})
_SCHEME = r"[a-zA-Z][\w+.-]*://"
#: a comma separates brokers only where another URL follows, because passwords hold commas too
_BETWEEN_BROKERS = re.compile(rf",\s*(?=(?:[\w.-]+=)?{_SCHEME})")
_BROKER = re.compile(rf"(?:(?P<name>[\w.-]+)=)?(?P<url>{_SCHEME}.*)", re.DOTALL)
_URL_START = re.compile(rf"(?<![\w+.-])(?={_SCHEME})")
_PASSWORD = re.compile(rf"((?:://|^(?!{_SCHEME}))[^:/@\s]*):\S*@")
_SECRET_ARGUMENT = re.compile(r"([?&;][^=&;?]*(?:password|passwd|secret|token|key|sig)=)[^&;#\s]*", re.IGNORECASE)
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def as_text(text: str) -> str:
    return text


def one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"must be {', '.join(words[:-1])} or {words[-1]}")
        return text.lower()

    return parse


def whole_number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return parse


def seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,6})?", text) or not 0 < float(text) <= 60:
        raise ValueError("must be seconds, more than 0 and at most 60, such as 0.2")
    return float(text)


def size(text: str) -> int:
    """Bytes; `512MB` is 512 * 1024 * 1024."""
    match = re.fullmatch(r"([0-9]{1,15})\s*([kMGT]?)B?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError("must be a size such as 512MB or 2GB, or 0")
    return int(match[1]) * int(1024 ** " kmgt".index(match[2].lower() or " "))


def folder(text: str) -> Path:
    if not text.strip():
        raise ValueError("must be a folder")
    return Path(text).expanduser()


def serializers(text: str) -> str:
    """The words in order, with json whatever they are; never pickle, because reading it runs code."""
    words = {word.strip().lower() for word in text.split(",")} - {""}
    if not words <= SERIALIZERS:
        raise ValueError(f"must be words of {', '.join(sorted(SERIALIZERS))}, separated by commas")
    return ",".join(sorted(words | {"json"}))


def yes_or_no(text: str) -> bool:
    if text.lower() not in _WORDS:
        raise ValueError("must be true or false")
    return _WORDS[text.lower()]


def zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError("must be a time zone such as UTC or Europe/Berlin") from None


def database_url(text: str) -> str:
    if not re.match(_SCHEME, text):
        raise ValueError("must be a URL such as sqlite:///ledger.sqlite3 or postgresql+psycopg://user@host/name")
    return text


def schedule_url(text: str) -> str:
    """The text itself, when `schedule_places` can read it."""
    schedule_places(text)
    return text


def schedule_places(text: str) -> tuple[tuple[str | None, str], ...]:
    """(cluster, URL) of each place; the cluster is None when none stands before the only URL."""
    if text == "django-db":
        return ((None, "django-db://"),)
    matches = [_BROKER.fullmatch(part.strip()) for part in _BETWEEN_BROKERS.split(text)]
    found = tuple((match["name"], match["url"]) for match in matches if match)
    if not all(matches) or (len(found) > 1 and len({name for name, _ in found} - {None}) < len(found)):
        raise ValueError(
            "must be a URL such as postgresql+psycopg://user@host/name, redis://host:6379/1, django-db:// or"
            " disabled://, or several as cluster=URL,cluster=URL"
        )
    return found


def url_prefix(text: str) -> str:
    """`taskledger/` as `/taskledger`; the root as the empty text."""
    stripped = text.strip("/")
    if not re.fullmatch(r"[\w.~/-]*", stripped, re.ASCII) or "//" in stripped:
        raise ValueError("must be a path such as /taskledger")
    return f"/{stripped}" if stripped else ""


def broker_url(text: str) -> str:
    """The text itself, when `brokers` can read it."""
    brokers(text)
    return text


def brokers(text: str) -> tuple[tuple[str, str], ...]:
    """(cluster, URL) of each broker in `name=URL,name=URL`; a single URL needs no name."""
    matches = [_BROKER.fullmatch(part.strip()) for part in _BETWEEN_BROKERS.split(text)]
    if not all(matches):
        raise ValueError("must be a broker URL such as redis://localhost:6379/0 or amqp://user:password@host//")
    found = tuple((match["name"] or DEFAULT_CLUSTER, match["url"]) for match in matches if match)
    if len({name for name, _ in found}) < len(found):
        raise ValueError("must give each broker a name of its own, as in eu=redis://a,us=redis://b")
    return found


def mask_url(text: str) -> str:
    """The text with the password of every URL in it as ***; rather too much is hidden than too little."""
    return "".join(_SECRET_ARGUMENT.sub(r"\1***", _PASSWORD.sub(r"\1:***@", piece)) for piece in _URL_START.split(text))
