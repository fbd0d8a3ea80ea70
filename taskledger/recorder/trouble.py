"""What goes wrong with a broker, translated at the edge into our own errors."""

import errno
import socket
import ssl
from collections.abc import Iterator

import amqp
import redis

from taskledger.errors import SettingsError, SourceLost, TaskledgerError
from taskledger.parsing import mask_url

#: the broker was reached and says no: asking again changes nothing
_REFUSALS = (
    amqp.AccessRefused,
    amqp.NotAllowed,
    amqp.PreconditionFailed,
    amqp.ResourceLocked,
    redis.AuthenticationError,
    redis.exceptions.NoPermissionError,
    redis.InvalidResponse,
    ssl.SSLCertVerificationError,
)
#: the URL itself, or what it asks for, makes no sense to kombu
_NONSENSE = (ImportError, KeyError, ValueError)
_ADVICE = "is --broker (TASKLEDGER_BROKER_URL) right?"


def of_url(error: Exception, address: str) -> SettingsError:
    """A URL of which kombu can make no connection."""
    return SettingsError(f"The broker {address} cannot be used: {told(error)}; {_ADVICE}")


def of_opening(error: Exception, address: str) -> TaskledgerError:
    """SettingsError when trying again is useless, else SourceLost."""
    chain = list(_chain(error))
    if any(isinstance(each, _REFUSALS) for each in chain) or "DB index" in str(error):
        return SettingsError(f"The broker {address} refuses: {told(error)}; {_ADVICE}")
    if any(isinstance(each, socket.gaierror) and each.errno == socket.EAI_NONAME for each in chain):
        return SettingsError(f"The broker {address} cannot be found: nothing is known by that name; {_ADVICE}")
    if isinstance(error, _NONSENSE) and not isinstance(error, OSError):
        return of_url(error, address)
    return of_reading(error)


def of_reading(error: Exception) -> SourceLost:
    """Any trouble on a connection that worked: connecting again may mend it."""
    return error if isinstance(error, SourceLost) else SourceLost(told(error))


def is_quiet(error: Exception) -> bool:
    """Whether this only says that nothing came in time; a dead connection has the same type but a number."""
    return isinstance(error, TimeoutError) and error.errno != errno.ETIMEDOUT


def told(error: BaseException) -> str:
    """The driver's own words in one line, without passwords."""
    words = str(error)
    if isinstance(error, KeyError) and error.args:
        words = str(error.args[0])  # else it would be in quotes
    elif isinstance(error, amqp.AMQPError) and error.reply_text:
        words = str(error.reply_text)  # without the numbers of AMQP's classes and methods
    return mask_url(" ".join(words.split()))[:300].rstrip(".") or type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
