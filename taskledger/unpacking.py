"""Events that a project writes in msgpack or YAML instead of JSON, read only where the settings say so.

Whatever comes out is what JSON could have said: anything else is refused. Pickle has no reader here, and gets none.
"""

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from taskledger.errors import SettingsError

#: content type -> the word of the setting `accept` that allows it (kombu/serialization.py)
WORDS = {
    "application/json": "json",
    "application/x-json": "json",
    "text/json": "json",
    "application/x-msgpack": "msgpack",
    "application/x-yaml": "yaml",
    "application/yaml": "yaml",
    "text/yaml": "yaml",
}
#: word -> the module that reads it
MODULES = {"msgpack": "msgpack", "yaml": "yaml"}
#: bytes; YAML is read at one or two megabytes a second, and nothing else is decoded meanwhile
MAX_YAML_BYTES = 1024 * 1024
MAX_YAML_DEPTH = 200


def check(accept: Iterable[str]) -> None:
    """Raise SettingsError when something is to be read for which there is no package."""
    for word in accept:
        try:
            import_module(MODULES.get(word, "json"))
        except ImportError:
            raise SettingsError(f"To read {word}, install its package: pip install 'taskledger[{word}]'.") from None


def unpack(body: bytes, word: str) -> Any:
    """The document in a body; ValueError or RecursionError when there is none, or one that JSON could not hold."""
    document = _READERS[word](body)
    _check_plain(document)
    return document


def _from_msgpack(body: bytes) -> Any:
    import msgpack  # noqa: PLC0415 - an extra, needed only where the settings say so

    try:
        return msgpack.unpackb(body, raw=False, strict_map_key=True)
    except (TypeError, msgpack.exceptions.UnpackException) as error:
        raise ValueError(str(error)) from error


def _from_yaml(body: bytes) -> Any:
    import yaml  # noqa: PLC0415 - as above

    if len(body) > MAX_YAML_BYTES:
        raise ValueError(f"{len(body):,} bytes; of YAML at most {MAX_YAML_BYTES:,} are read")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_shape(yaml.parse(body, Loader=loader))
        return yaml.load(body, Loader=loader)  # noqa: S506 - both are safe loaders
    except (yaml.YAMLError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def _check_shape(parsed: Iterable[Any]) -> None:
    """A few aliases of aliases stand for more than fits into any memory; and libyaml's depth is that of the C stack."""
    depth = 0
    for each in parsed:
        kind = type(each).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if kind == "AliasEvent":
            raise ValueError("it holds aliases, which are not read")
        if depth > MAX_YAML_DEPTH:
            raise ValueError(f"it is nested more than {MAX_YAML_DEPTH} deep")


_READERS: dict[str, Callable[[bytes], Any]] = {"msgpack": _from_msgpack, "yaml": _from_yaml}


def _check_plain(value: Any) -> None:
    if isinstance(value, dict):
        for key, each in value.items():
            if not isinstance(key, str):
                raise ValueError(f"a key is text, not {type(key).__name__}")  # noqa: TRY004 - it is the input that is wrong
            _check_plain(each)
    elif isinstance(value, list):
        for each in value:
            _check_plain(each)
    elif value is not None and not isinstance(value, str | int | float | bool):
        raise ValueError(f"it holds {type(value).__name__}, which JSON has not")
