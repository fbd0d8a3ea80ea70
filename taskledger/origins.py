"""Where settings are said: flags, environment, files of secrets and the TOML file, read into texts."""

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from taskledger.errors import SettingsError

PREFIX = "TASKLEDGER_"
#: names the TOML file, which is no setting itself
CONFIG_VARIABLE, CONFIG_FLAG = "TASKLEDGER_CONFIG", "--config"
FILE_NAME = "taskledger.toml"
#: variables of the test suite and the shell's completion are nobody's typing error
_NO_SETTINGS = re.compile(r"TASKLEDGER_(CONFIG|BEAT|TEST_\w+|COMPLETE)")


@dataclass(frozen=True, slots=True)
class Said:
    """One setting as it was said: the text, the kind of place, and the words that point people to it."""

    text: str
    #: "flag", "environment" or "file PATH"
    origin: str
    #: e.g. "--port", "TASKLEDGER_PORT", "port in ./taskledger.toml"
    place: str


def variable(name: str) -> str:
    """The environment variable of a field."""
    return PREFIX + name.upper()


def read(flags: Mapping[str, object], environ: Mapping[str, str], fields: Mapping[str, str]) -> dict[str, Said]:
    """What was said of each field; flags win over the environment, and that over the TOML file.

    `fields` maps each field to its flag. SettingsError for a file that cannot be read or a key nobody knows.
    """
    path = _toml_path(flags.get("config"), environ)
    said = _from_toml(path, fields) if path else {}
    said |= {name: found for name in fields if (found := _from_environment(name, environ))}
    for name, flag in fields.items():
        if flags.get(name) is not None:
            said[name] = Said(_plain(flags[name]), "flag", flag)
    return said


def unknown_variables(environ: Mapping[str, str], fields: Collection[str]) -> list[str]:
    """One sentence for each TASKLEDGER_* variable that is no setting, with the near match if there is one."""
    known = {variable(name) for name in fields} | {f"{variable(name)}_FILE" for name in fields}
    strangers = (name for name in environ if name.startswith(PREFIX) and not _NO_SETTINGS.fullmatch(name))
    return [f"{name} is no setting{_near(name, known)}" for name in sorted(set(strangers) - known)]


def _toml_path(flag: object, environ: Mapping[str, str]) -> Path | None:
    named = flag or environ.get(CONFIG_VARIABLE)
    if named:
        return Path(str(named))
    here = Path(FILE_NAME)
    if here.is_file():
        return here
    import platformdirs

    of_user = platformdirs.user_config_path("taskledger") / FILE_NAME
    return of_user if of_user.is_file() else None


def _from_toml(path: Path, fields: Collection[str]) -> dict[str, Said]:
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"The settings file {path} cannot be read: {told}.") from error
    for key, value in table.items():
        if key not in fields:
            raise SettingsError(f"{path}: {key} is no setting{_near(key, fields)}")
        if not isinstance(value, str | int | float):
            raise SettingsError(f"{path}: {key} must be a text, a number, true or false.")
    return {key: Said(_plain(value), f"file {path}", f"{key} in {path}") for key, value in table.items()}


def _from_environment(name: str, environ: Mapping[str, str]) -> Said | None:
    """A variable that is empty counts as not set, because that is how compose files leave things out."""
    direct, by_file = environ.get(variable(name)), environ.get(f"{variable(name)}_FILE")
    if direct and by_file:
        raise SettingsError(f"{variable(name)} and {variable(name)}_FILE are both set; keep one of them.")
    if by_file:
        return Said(_secret(Path(by_file), variable(name)), "environment", f"{variable(name)}_FILE")
    return Said(direct, "environment", variable(name)) if direct else None


def _secret(path: Path, name: str) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"{name}_FILE: {path} cannot be read: {told}.") from error
    if not text:
        raise SettingsError(f"{name}_FILE: {path} is empty.")
    return text


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _near(word: str, known: Collection[str]) -> str:
    matches = get_close_matches(word, known, n=1)
    return f"; did you mean {matches[0]}?" if matches else "; see `taskledger config` for all of them."
