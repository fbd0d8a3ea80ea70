"""Column types that hold a value the same way on SQLite, PostgreSQL and MariaDB/MySQL."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Dialect, Double, Integer, LargeBinary, SmallInteger, Text, TypeDecorator
from sqlalchemy.dialects import mysql


@lru_cache(maxsize=16_384)  # A task's id comes with each of its events, in its row and in its runs.
def pack_task_id(task_id: str) -> bytes:
    """A task id as bytes, reversibly: 16 for a canonical UUID, else a mark and the text, never 16.

    A third of the size of the text, and compared byte by byte whatever the database's collation.
    """
    if len(task_id) == 36 and (packed := _of_uuid(task_id)) is not None:
        return packed
    text = task_id.encode("utf-8", "surrogatepass")
    # Fifteen bytes and a mark would make sixteen, the length of a UUID: those get a mark on both sides.
    return b"\x01" + text + b"\x01" if len(text) == 15 else b"\x00" + text


def _of_uuid(text: str) -> bytes | None:
    """The bytes of a UUID as Python writes it; None for anything else."""
    digits = text.replace("-", "")
    if len(digits) != 32 or not text[8] == text[13] == text[18] == text[23] == "-" or digits != digits.lower():
        return None
    try:
        packed = bytes.fromhex(digits)
    except ValueError:
        return None
    return packed if len(packed) == 16 else None  # It passes over white space.


def unpack_task_id(packed: bytes) -> str:
    """The task id that `pack_task_id` packed."""
    if len(packed) == 16:
        digits = packed.hex("-", 2)
        return f"{digits[:4]}{digits[5:29]}{digits[30:34]}{digits[35:]}"
    text = packed[1:-1] if packed[0] == 1 else packed[1:]
    return text.decode("utf-8", "surrogatepass")


def _binary(size: int) -> Any:
    return LargeBinary(size).with_variant(mysql.VARBINARY(size), "mysql", "mariadb")


class TaskId(TypeDecorator[str]):
    """A task id: text in Python, packed bytes in the database."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(_binary(1024).dialect_impl(dialect))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002 - SQLAlchemy calls it so
        return None if value is None else pack_task_id(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - as above
        return _unpacked(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[bytes | None], str | None]:  # noqa: ARG002 - as above
        """The function itself: a page has ten thousand ids, and each layer between costs as much as it does."""
        return _unpacked


def _unpacked(value: bytes | None) -> str | None:
    return None if value is None else unpack_task_id(bytes(value))


#: 16 bytes: an event's identity, a fingerprint, a digest
Digest = LargeBinary(16).with_variant(mysql.BINARY(16), "mysql", "mariadb")
#: microseconds since the epoch, UTC
Moment = BigInteger
#: a surrogate key that SQLite can count up by itself
Key = BigInteger().with_variant(Integer, "sqlite")
Seconds = Double
Code = SmallInteger
LongText = Text().with_variant(mysql.MEDIUMTEXT, "mysql", "mariadb")
Blob = LargeBinary().with_variant(mysql.MEDIUMBLOB, "mysql", "mariadb")
