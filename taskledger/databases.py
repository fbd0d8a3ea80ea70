"""Other people's databases, which are only ever read: an address with a driver that is here, and an engine for it."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from taskledger.parsing import mask_url

#: seconds that it may take to connect
TIMEOUT_S = 5
#: a driver that comes with taskledger -> the databases it is for
_DRIVERS = {"psycopg": ("postgresql", "postgres"), "pymysql": ("mysql", "mariadb")}
#: Django's engines (django/db/backends)
_ENGINES = {
    "postgresql": "postgresql",
    "postgis": "postgresql",
    "mysql": "mysql",
    "sqlite3": "sqlite",
    "spatialite": "sqlite",
}


def address(url: str) -> URL:
    """An SQLAlchemy URL with a driver that is here. ValueError in words that go on a sentence."""
    try:
        found = make_url(url)
    except ArgumentError as error:
        raise ValueError(f"{mask_url(url)!r} is no address of a database") from error
    kind, _, driver = found.drivername.partition("+")
    ours = next((name for name, kinds in _DRIVERS.items() if kind in kinds), None)
    if ours is not None and (not driver or importlib.util.find_spec(driver) is None):
        return found.set(drivername=f"{'postgresql' if ours == 'psycopg' else kind}+{ours}")
    return found


def djangos_address(database: Mapping[str, Any]) -> URL:
    """The address that an entry of Django's DATABASES means. ValueError for an engine that cannot be read."""
    kind = _ENGINES.get(str(database.get("ENGINE")).rpartition(".")[2])
    if kind is None:
        raise ValueError(f"{database.get('ENGINE')} is not supported")
    if kind == "sqlite":
        return URL.create("sqlite", database=str(database.get("NAME")))
    port = database.get("PORT")
    parts: dict[str, Any] = {key: database.get(key.upper()) or None for key in ("host", "password")}
    found = URL.create(
        kind,
        username=database.get("USER") or None,
        port=int(port) if port else None,
        database=database.get("NAME"),
        query=_options(kind, database.get("OPTIONS") or {}),
        **parts,
    )
    return address(found.render_as_string(hide_password=False))


def engine(address: URL) -> Engine:
    """An engine that makes nothing by looking, not even an SQLite file. ValueError when its driver is not here."""
    options: dict[str, Any] = {"pool_pre_ping": True}
    if address.get_backend_name() == "sqlite":
        # A file that is not there must not be made by looking.
        path = Path(address.database or "").absolute().as_posix()
        address = address.set(database=f"file:{path}", query={"mode": "ro", "uri": "true"})
        options["connect_args"] = {"timeout": TIMEOUT_S}
    else:
        options |= {"pool_size": 1, "max_overflow": 1, "connect_args": {"connect_timeout": TIMEOUT_S}}
    try:
        return create_engine(address, **options)
    except (ImportError, NoSuchModuleError, TypeError) as error:
        shown = address.render_as_string(hide_password=True)
        raise ValueError(f"{shown} cannot be read: its driver is not installed") from error


def _options(kind: str, options: Mapping[str, Any]) -> dict[str, str]:
    """What Django hands on to libpq (sslmode, service, options, …): all texts of PostgreSQL's OPTIONS."""
    return {key: value for key, value in options.items() if kind == "postgresql" and isinstance(value, str)}
