"""`taskledger record`: readers that only talk to brokers, a writer that only talks to the database, a queue between.

    broker → Reader (a thread each) → Waiting (bounded) → Writer (the calling thread) → database
                    ↑                                        │
                    └────────── acknowledgements ────────────┘

Neither half ever waits for the other: see the docstrings of `reader.Reader` and `writer.Writer`.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import taskledger
from taskledger.config import Settings, mask_url
from taskledger.errors import SettingsError
from taskledger.ledger import Ledger, open_ledger, presence
from taskledger.recorder import brokers
from taskledger.recorder.reader import Reader
from taskledger.recorder.source import Source, now_at
from taskledger.recorder.waiting import Waiting
from taskledger.recorder.writer import OutOfTimeError, Writer

log = logging.getLogger(__name__)

#: seconds from the order to stop until the process is ended whatever it still waits for
HARD_STOP_S = 9.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: seconds that a reader gets to say goodbye to its broker
JOIN_S = 1.0
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
    sources = brokers.sources(settings) if sources is None else sources
    if not sources:
        raise SettingsError("No broker is known: give --broker URL or --app APP.")
    _introduce(settings, sources)
    with ExitStack() as stack:
        stack.enter_context(_signals(stop))
        ledger = stack.enter_context(open_ledger(settings.database_url))
        recorder_id = presence.begin(ledger, settings.recorder_name, taskledger.__version__, now_at())
        for start in background:
            stack.callback(start(ledger))
        _record(settings, sources, ledger, recorder_id, stop)
    log.info("stopped", extra={"action": "stopped"})
    return 0


def _record(
    settings: Settings, sources: Mapping[str, Source], ledger: Ledger, recorder_id: int, stop: threading.Event
) -> None:
    waiting = Waiting()
    readers = {
        cluster: Reader(cluster, source, waiting, stop, settings.batch_size) for cluster, source in sources.items()
    }
    writer = Writer(ledger, recorder_id, readers, waiting, stop, settings.batch_size, settings.batch_wait_s)
    for reader in readers.values():
        reader.start()
    try:
        _write(writer)
    finally:
        stop.set()
        for reader in readers.values():
            reader.finish()
        for reader in readers.values():
            reader.join(JOIN_S)


def _write(writer: Writer) -> None:
    try:
        try:
            writer.run()
        finally:
            writer.say_goodbye()
    except OutOfTimeError as error:
        log.error("stopped before all was written: %s", error, extra={"action": "stopped_early"})  # noqa: TRY400


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
