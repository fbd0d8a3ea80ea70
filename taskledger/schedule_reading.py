"""Reading beat's schedule, from round to round: from where its scheduler keeps it, and from the app's configuration."""

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from taskledger import app, redaction
from taskledger.config import Settings
from taskledger.crontabs import SECOND
from taskledger.errors import SettingsError, TaskledgerError
from taskledger.ledger import Ledger, schedule_store
from taskledger.parsing import schedule_places
from taskledger.schedules import Entry

if TYPE_CHECKING:
    from taskledger.schedule_sources import Reading, RunCount, Store
    from taskledger.schedule_sources.finding import Lead

log = logging.getLogger(__name__)

#: microseconds between two readings of the app, whose code runs each time
APP_EVERY = 60 * SECOND
#: microseconds after which the ledger hears of a schedule again that did not change, so that it knows it was read
KEEP_EVERY = 60 * SECOND
#: nothing is known: said once
NO_SOURCE = (
    "no schedule is known, so that fires can be seen but not missed: give --app or --schedule;"
    " beat's own file (celerybeat-schedule) is not read, because it is a pickle: reading it would run what is in it"
)


class ScheduleReading:
    """The sources of one recorder. One that is away is told once, and stops no other."""

    def __init__(self, settings: Settings) -> None:
        _check(settings)
        self._settings = settings
        self._polls: list[_Poll] | None = None
        self._app = _App(settings) if settings.celery_app is not None else None
        self._has_looked = False

    def read(self, ledger: Ledger, now_at: int) -> int:
        """Keep what beat promises now; how many versions of entries were opened or closed."""
        if not self._settings.brokers:
            return 0
        if self._polls is None:
            self._polls = self._said()
        if self._app is not None and not self._has_looked:
            self._look_for_more(self._app, self._polls, now_at)
        changed = sum(poll.read(ledger, now_at) for poll in self._polls)
        if self._app is not None:
            changed += self._app.read(ledger, self._polls, now_at)
        return changed

    def close(self) -> None:
        """Give all connections back."""
        for poll in self._polls or ():
            poll.close()

    def _said(self) -> "list[_Poll]":
        if self._settings.schedule_url is None:
            if self._app is None:
                log.info(NO_SOURCE, extra={"action": "schedule_unknown"})
            return []
        from taskledger.schedule_sources import finding  # noqa: PLC0415  Celery's modules take long, and few need them.

        return [_Poll(lead, self._settings) for lead in finding.said(self._settings)]

    def _look_for_more(self, found: "_App", polls: "list[_Poll]", now_at: int) -> None:
        """What the app's configuration gives away, once its tasks can be imported."""
        if not found.is_imported(now_at):
            return
        from taskledger.schedule_sources import finding  # noqa: PLC0415  As above.

        polls += [_Poll(lead, self._settings) for lead in finding.given_away(self._settings)]
        self._has_looked = True
        hint = finding.hint(self._settings, [poll.lead for poll in polls])
        if hint:
            log.warning(hint, extra={"action": "schedule_elsewhere"})


def cluster_of(settings: Settings) -> str:
    """The cluster that beat sends to: the one with the app's broker, else the first. There must be one."""
    url = None if settings.celery_app is None else app.broker_url_of(settings.celery_app)
    return next((cluster for cluster, its_url in settings.brokers if its_url == url), settings.brokers[0][0])


class _Trouble:
    """Says what is wrong when it begins, and when it is over."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told: str | None = None

    def begins(self, why: str) -> None:
        if self._told is None:
            log.warning("%s; it is tried again and again", why, extra={"action": "schedule_away"})
        elif self._told != why:
            log.debug("%s", why)
        self._told = why

    def is_over(self) -> None:
        if self._told is not None:
            log.info("%s can be read again", self._name, extra={"action": "schedule_back"})
        self._told = None


class _Poll:
    """One place where a scheduler keeps its schedule."""

    def __init__(self, lead: "Lead", settings: Settings) -> None:
        self.lead = lead
        self.cluster = lead.cluster or cluster_of(settings)
        #: whether it ever said anything
        self.was_read = False
        self._settings = settings
        self._store: Store | None = None
        self._trouble = _Trouble(lead.name)
        self._kept: dict[str, _Kept] = {}

    def read(self, ledger: Ledger, now_at: int) -> int:
        changed = 0
        for reading in self._readings(now_at):
            self.was_read = True
            kept = self._kept.setdefault(reading.source, _Kept(self._settings, self.cluster))
            changed += kept.keep(ledger, reading, now_at)
        return changed

    def close(self) -> None:
        if self._store is not None:
            self._store.close()

    def _readings(self, now_at: int) -> "list[Reading]":
        try:
            if self._store is None:
                self._store = self.lead.open()
            readings = self._store.read(now_at)
        except TaskledgerError as error:
            self._trouble.begins(str(error))
            return []
        except Exception as error:  # What others keep may be anything, and the other sources are no part of it.
            log.debug("traceback", exc_info=error)
            self._trouble.begins(f"{self.lead.name} cannot be read: {type(error).__name__}: {error}")
            return []
        self._trouble.is_over()
        return readings


class _Kept:
    """What the ledger was last told of one source: a schedule that did not change is not written each time."""

    def __init__(self, settings: Settings, cluster: str) -> None:
        self._settings, self._cluster = settings, cluster
        self._entries: tuple[Entry, ...] | None = None
        self._counts: tuple[RunCount, ...] = ()
        self._at = 0
        #: when it was read before
        self._read_at: int | None = None

    def keep(self, ledger: Ledger, reading: "Reading", now_at: int) -> int:
        cluster, changed = self._cluster, 0
        is_time = now_at - self._at >= KEEP_EVERY
        if is_time or self._entries != reading.entries:
            entries = _redacted(self._settings, reading.entries)
            changed = schedule_store.keep_definitions(ledger, cluster, reading.source, entries, now_at, self._read_at)
        if is_time or self._counts != reading.counts:
            schedule_store.keep_counts(ledger, cluster, reading.counts, now_at)
        self._entries, self._counts = reading.entries, reading.counts
        self._at, self._read_at = (now_at if is_time else self._at), now_at
        return changed


class _App:
    """The app's own configuration, as Celery's own scheduler would read it."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._app = settings, settings.celery_app
        self._tried_at: int | None = None
        self._read_at: int | None = None
        self._trouble = _Trouble(f"the app {app.name_of(self._app)}")
        self._is_silent = False

    def is_imported(self, now_at: int) -> bool:
        """Whether its tasks can be imported, which is tried once a minute."""
        if self._tried_at is not None and now_at - self._tried_at < APP_EVERY:
            return False
        self._tried_at = now_at
        try:
            app.import_tasks(self._app)
        except TaskledgerError as error:
            self._trouble.begins(str(error))
            return False
        return True

    def read(self, ledger: Ledger, polls: "Iterable[_Poll]", now_at: int) -> int:
        """Keep its entries; none when beat's schedule is known from where its scheduler keeps it.

        Such a scheduler copies them there when it starts. What is only in the configuration it does not send.
        """
        rivals = [poll for poll in polls if poll.cluster == cluster_of(self._settings)]
        elsewhere = [poll for poll in rivals if poll.was_read or not poll.lead.is_guess]
        # As long as such a place is away nothing is known of it: neither that its entries are gone nor what they are.
        is_unknown = bool(elsewhere) and not any(poll.was_read for poll in elsewhere)
        if is_unknown or (self._read_at is not None and now_at - self._read_at < APP_EVERY - SECOND):
            return 0
        self._read_at = now_at
        if elsewhere:
            self._say_silent(elsewhere[0].lead.name)
        return self._keep(ledger, now_at, is_silent=bool(elsewhere))

    def _keep(self, ledger: Ledger, now_at: int, *, is_silent: bool) -> int:
        from taskledger import app_schedule  # noqa: PLC0415  Celery's own modules take long, and few questions need them.

        try:
            entries = [] if is_silent else app_schedule.entries_of(self._app)
        except TaskledgerError as error:
            self._trouble.begins(str(error))
            return 0
        self._trouble.is_over()
        source, cluster = app_schedule.source_of(self._app), cluster_of(self._settings)
        return schedule_store.keep_definitions(ledger, cluster, source, _redacted(self._settings, entries), now_at)

    def _say_silent(self, name: str) -> None:
        if not self._is_silent:
            told = "%s says what beat sends; beat_schedule of %s does not count beside it, as beat copies it there"
            log.info(told, name, app.name_of(self._app), extra={"action": "schedule_elsewhere"})
        self._is_silent = True


def _check(settings: Settings) -> None:
    """Raise SettingsError for a schedule of a cluster that nobody records."""
    named = {cluster for cluster, _ in schedule_places(settings.schedule_url)} if settings.schedule_url else set()
    strange = named - {None, *(cluster for cluster, _ in settings.brokers)}
    if strange:
        raise SettingsError(f"--schedule is for the cluster {strange.pop()}, which --broker does not name.")


def _redacted(settings: Settings, entries: Iterable[Entry]) -> list[Entry]:
    rules = redaction.compiled(settings.redact_keys, settings.redact_values, settings.payloads)
    return [redaction.redacted_entry(entry, rules) for entry in entries]
