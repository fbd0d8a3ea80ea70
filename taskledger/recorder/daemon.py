"""`taskledger record`: readers that only talk to brokers, a writer that only talks to the database, queues between.

    broker → Reader → Waiting → Gatherer → Backlog (memory, then the spool) → Writer → database
               ↑                              │                                  │
               └────────────── acknowledgements, once spooled or committed ──────┘

A reader is a thread for each broker, the writer is one thread, the gatherer runs in the calling thread. None of them
waits for another: see the docstrings of `reader.Reader`, `gatherer.Gatherer` and `writer.Writer`.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from hashlib import blake2b

import taskledger
from taskledger.config import Settings, default_spool_folder, mask_url
from taskledger.errors import SettingsError
from taskledger.ledger import Ledger, open_ledger, presence
from taskledger.recorder import brokers, health, probes, runtime
from taskledger.recorder.backlog import Backlog
from taskledger.recorder.decoding import Decoding
from taskledger.recorder.gatherer import Gatherer
from taskledger.recorder.progress import Progress
from taskledger.recorder.reader import Reader
from taskledger.recorder.source import Source, now_at
from taskledger.recorder.spool import Spool, open_spool
from taskledger.recorder.waiting import Waiting
from taskledger.recorder.writer import FINISH_S, Writer
from taskledger.recorder.writing import Writing

log = logging.getLogger(__name__)

#: seconds from the order to stop until the process is ended whatever it still waits for
HARD_STOP_S = 9.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: seconds that a reader gets to say goodbye to its broker, and the writer to the database when its time is up
JOIN_S, LEAVE_S = 1.0, 1.0
#: starts something beside the recorder, and gives back how to stop it
Background = Callable[[Ledger], Callable[[], None]]


def run(
    settings: Settings,
    *,
    stop: threading.Event | None = None,
    background: Sequence[Background] = (),
    sources: Mapping[str, Source] | None = None,
) -> int:
    """Record until SIGTERM, SIGINT or `stop`; the exit code. The ledger's schema must be up to date.

    `background` runs meanwhile, with the same ledger. `sources` (cluster -> source) are those of the settings if not
    given. Raises SettingsError when a broker refuses what the settings say, LedgerAway when the database is away at the
    start; later on, both are waited for.
    """
    stop = stop or threading.Event()
    runtime.tune()
    sources = brokers.sources(settings) if sources is None else sources
    if not sources:
        raise SettingsError("No broker is known: give --broker URL or --app APP.")
    _introduce(settings, sources)
    with ExitStack() as stack:
        stack.enter_context(_signals(stop))
        watch = stack.enter_context(probes.watching(settings, stop))
        ledger = stack.enter_context(open_ledger(settings.database_url))
        spool = stack.enter_context(_spool(settings))
        recorder_id = presence.begin(ledger, settings.recorder_name, taskledger.__version__, now_at())
        for start in background:
            stack.callback(start(ledger))
        _record(settings, sources, ledger, recorder_id, stop, spool=spool, watch=watch)
    log.info("stopped", extra={"action": "stopped"})
    return 0


def _record(
    settings: Settings,
    sources: Mapping[str, Source],
    ledger: Ledger,
    recorder_id: int,
    stop: threading.Event,
    *,
    spool: Spool | None,
    watch: probes.Watch,
) -> None:
    waiting, progress = Waiting(), Progress()
    readers = {
        cluster: Reader(cluster, source, waiting, stop, settings.batch_size) for cluster, source in sources.items()
    }
    backlog = Backlog(spool, settings.batch_size)
    gatherer = Gatherer(
        readers, waiting, backlog, settings.batch_size, settings.batch_wait_s, decoding=Decoding(settings)
    )
    writing = Writing(ledger, settings, backlog.upcoming)
    writer = Writer(ledger, recorder_id, readers, backlog, progress, stop, writing=writing)
    watch.follow(partial(health.look, readers, waiting, gatherer, backlog, progress))
    for thread in (writer, *readers.values()):
        thread.start()
    try:
        _gather(gatherer, writer, backlog, progress, stop)
    finally:
        stop.set()
        for reader in readers.values():
            reader.finish()
        for reader in readers.values():
            reader.join(JOIN_S)
        writing.close()
    error = gatherer.error or writer.error
    if error is not None:
        raise error


def _gather(gatherer: Gatherer, writer: Writer, backlog: Backlog, progress: Progress, stop: threading.Event) -> None:
    """Until told to stop, or until somebody gave up; then until all is written, or is where it can wait."""
    while not gatherer.is_done:
        gatherer.step()
        if gatherer.error or writer.error:
            stop.set()
        progress.dropped, progress.damaged = gatherer.dropped, backlog.damaged
        progress.spooled_bytes = backlog.spooled_bytes
        progress.waiting, progress.gathered_s = gatherer.messages + backlog.events, time.monotonic()
        if progress.is_due():
            progress.tell(writer.clusters, progress.waiting)
    writer.join(FINISH_S + LEAVE_S)
    if not writer.is_done:
        writer.give_up()
        gatherer.spool_rest()
    progress.tell(writer.clusters, backlog.events)


@contextmanager
def _spool(settings: Settings) -> Iterator[Spool | None]:
    """Where events wait for the database; None if the settings say so, or if the default folder cannot be written."""
    spool = _open_spool(settings) if settings.spool_bytes else None
    if spool is not None and not spool.is_empty:
        log.info(
            "%d bytes that an earlier recorder spooled in %s come first",
            spool.used_bytes,
            spool.folder,
            extra={"action": "spool_found", "size": spool.used_bytes},
        )
    try:
        yield spool
    finally:
        if spool is not None:
            spool.close()


def _open_spool(settings: Settings) -> Spool | None:
    # With the database in its name, since what waits for one must not be written into another.
    database = blake2b(mask_url(settings.database_url).encode(), digest_size=4).hexdigest()
    name = f"{settings.recorder_name}@{settings.queue_name}~{database}"
    try:
        return open_spool(settings.spool_folder, name, settings.spool_bytes)
    except OSError as error:
        said = f"the spool folder {settings.spool_folder} cannot be written: {error.strerror}"
        if settings.spool_folder != default_spool_folder():
            raise SettingsError(f"{said}; is --spool-folder (TASKLEDGER_SPOOL_FOLDER) right?") from error
        log.warning("%s; while the database is away events wait in memory only", said, extra={"action": "no_spool"})
        return None


def _introduce(settings: Settings, sources: Mapping[str, Source]) -> None:
    for cluster, source in sources.items():
        log.info(
            "taskledger %s records %s: broker %s, queue %s, app %s, into %s; %s: %s",
            taskledger.__version__,
            cluster,
            source.address,
            source.queue,
            settings.app or "none",
            mask_url(settings.database_url),
            source.promise,
            source.promise.sentence,
            extra={"action": "started", "cluster": cluster, "version": taskledger.__version__},
        )


@contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set `stop`, and the process ends in time; only the main thread may ask for signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Python runs a handler only between two steps of the main thread, which may be deep inside a driver; the signal's
    # number comes to the watcher at once.
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    done = threading.Event()
    watcher = threading.Thread(target=_obey, args=(told, stop, done), name="signals", daemon=True)
    watcher.start()
    before = {number: signal.signal(number, lambda *_: None) for number in STOP_SIGNALS}
    fd_before = signal.set_wakeup_fd(tell)
    try:
        yield
    finally:
        signal.set_wakeup_fd(fd_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        done.set()
        os.write(tell, b"\0")
        watcher.join()
        os.close(told)
        os.close(tell)


def _obey(told: int, stop: threading.Event, done: threading.Event) -> None:
    """End what does not end by itself; what was not acknowledged stays with the broker."""
    while os.read(told, 1)[0] not in (0, *STOP_SIGNALS):
        pass
    stop.set()
    if not done.wait(HARD_STOP_S):
        log.error("still not stopped after %s s: ending the process", HARD_STOP_S, extra={"action": "stopped_hard"})
        logging.shutdown()
        os._exit(0)
