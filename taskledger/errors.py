"""Every exception taskledger raises, in one tree: each says what happened, to what, and what to do next."""


class TaskledgerError(Exception):
    """Something taskledger can explain in a sentence; `exit_code` is what a command ends with."""

    exit_code = 2


class SettingsError(TaskledgerError):
    """A setting is wrong, unknown or contradicts another."""


class AppError(SettingsError):
    """The Celery app named by --app cannot be imported."""


class QueryError(TaskledgerError):
    """A search cannot be read; `position` is the 0-based offset of the trouble in the text."""

    def __init__(self, message: str, position: int, text: str = "") -> None:
        super().__init__(message)
        self.position = position
        self.text = text


class LedgerError(TaskledgerError):
    """The database refused, is away, or holds something unexpected."""

    exit_code = 3


class SchemaBehind(LedgerError):
    """The database's schema is older than this program: run `taskledger db upgrade`."""

    exit_code = 2


class SchemaAhead(LedgerError):
    """The database's schema is newer than this program: install the newer taskledger."""

    exit_code = 2


class NameUnknown(TaskledgerError):
    """A name has no number in the ledger: waiting does not mend that."""

    exit_code = 3


class LedgerConflict(LedgerError):
    """Another transaction was in the way; trying again may pass."""


class EventDamaged(LedgerError):
    """The body of an event cannot be read: damaged, or written by a newer program."""


class LedgerBusy(LedgerError):
    """Somebody does already what only one may do at a time."""

    exit_code = 2


class LedgerAway(LedgerError):
    """The database cannot be reached."""


class SourceError(TaskledgerError):
    """The broker refused, or the events cannot be read from it."""

    exit_code = 3


class SourceLost(SourceError):
    """The connection to the broker broke; connecting again may mend it."""


class BackendError(TaskledgerError):
    """The result backend cannot be read."""

    exit_code = 3


class BackendAway(BackendError):
    """The result backend cannot be reached now."""


class BackendUnreadable(BackendError):
    """Nobody can read a result backend of this kind from outside."""


class ScheduleError(TaskledgerError):
    """The place where beat keeps its schedule cannot be read."""

    exit_code = 3


class ScheduleAway(ScheduleError):
    """It cannot be reached now; asking again later may do."""


class ScheduleUnreadable(ScheduleError):
    """It is no place that can be read from outside, or is not what the settings say."""
