"""The recorder's vitals for Prometheus. Labels are bounded: cluster, reason, version; never the name of a task."""

import sys
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

import taskledger
from taskledger.recorder.vitals import ClusterVitals, Distribution, Vitals

PREFIX = "taskledger_recorder_"
OPENMETRICS = "application/openmetrics-text"
#: the vitals now; None before there are any
Look = Callable[[], Vitals | None]
Verdict = Callable[[Vitals], list[str]]


class Recorder(Collector):
    """Reads the vitals at each scrape; `not_ready` is the judgement of /readyz."""

    def __init__(self, look: Look, not_ready: Verdict) -> None:
        self._look, self._not_ready = look, not_ready

    def collect(self) -> Iterator[Metric]:
        yield _build()
        vitals = self._look()
        if vitals is None:
            return
        yield _gauge("ready", "Whether /readyz says yes.", int(not self._not_ready(vitals)))
        yield from _of_events(vitals)
        yield from _of_brokers(vitals)
        yield from _of_database(vitals)
        yield from _of_waiting(vitals)


def registry(look: Look, not_ready: Verdict) -> CollectorRegistry:
    """What is told of the recorder and of its process (memory, time, open files: where the system has /proc)."""
    made = CollectorRegistry()
    made.register(Recorder(look, not_ready))
    ProcessCollector(registry=made)
    return made


def exposition(of: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """The metrics as text, and its content type: OpenMetrics for who accepts it."""
    encode, content_type = choose_encoder(OPENMETRICS if OPENMETRICS in accept else "")
    return encode(of), content_type


def _of_events(vitals: Vitals) -> Iterator[Metric]:
    clusters = vitals.clusters
    yield _counter("messages_received", "Messages taken from the broker.", clusters, lambda one: one.received)
    yield _counter("events_stored", "Events written that were new.", clusters, lambda one: one.stored)
    yield _counter("events_duplicate", "Events that were known already.", clusters, lambda one: one.duplicate)
    yield _counter("events_stale", "Events older than what was pruned, left out.", clusters, lambda one: one.stale)
    yield _by_reason("events_quarantined", "Events set aside, unusable.", clusters, lambda one: one.quarantined)
    yield _by_reason("events_dropped", "Events lost for want of room.", clusters, lambda one: one.dropped)
    yield _counter("messages_lost", "Messages that the broker threw away unread.", clusters, lambda one: one.lost)
    if vitals.lag_s is not None:
        yield _gauge("lag_seconds", "How far what is written is behind what happens.", vitals.lag_s)


def _of_brokers(vitals: Vitals) -> Iterator[Metric]:
    clusters = vitals.clusters
    listening = GaugeMetricFamily(f"{PREFIX}listening", "Whether the broker is listened to.", labels=["cluster"])
    backlog = GaugeMetricFamily(f"{PREFIX}broker_messages", "Messages that wait at the broker.", labels=["cluster"])
    for one in clusters:
        listening.add_metric([one.cluster], int(one.trouble is None))
        if one.backlog is not None:
            backlog.add_metric([one.cluster], one.backlog)
    yield listening
    yield backlog
    yield _counter("listening_seconds", "Time for which it was listened to.", clusters, lambda one: one.listened_s)
    yield _counter("reconnects", "Connections after the first.", clusters, lambda one: max(0, one.connections - 1))


def _of_database(vitals: Vitals) -> Iterator[Metric]:
    yield _gauge("database_up", "Whether the database did what it was last asked.", int(vitals.trouble is None))
    yield CounterMetricFamily(f"{PREFIX}database_failures", "Times that it did not.", value=vitals.failures)
    if vitals.committed_s is not None:
        yield _gauge("last_commit_timestamp_seconds", "When the last batch was written.", vitals.committed_s)
    yield _histogram("batch_events", "Events of a batch.", vitals.batch_events)
    yield _histogram("batch_write_seconds", "Time that a batch took to write.", vitals.batch_s)


def _of_waiting(vitals: Vitals) -> Iterator[Metric]:
    yield _gauge("waiting_messages", "Messages and events in memory, not written yet.", vitals.waiting_messages)
    yield _gauge("waiting_bytes", "Memory that they take, about.", vitals.waiting_bytes)
    yield _gauge("spool_bytes", "Bytes of events in the spool.", vitals.spool_bytes)
    yield _gauge("spool_limit_bytes", "The most that may be there.", vitals.spool_max_bytes)
    damaged = "Records of it that could not be read."
    yield CounterMetricFamily(f"{PREFIX}spool_damaged_records", damaged, value=vitals.spool_damaged)


def _build() -> Metric:
    python = ".".join(map(str, sys.version_info[:3]))
    return InfoMetricFamily(f"{PREFIX}build", "Versions.", value={"version": taskledger.__version__, "python": python})


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def _counter(name: str, text: str, clusters: tuple[ClusterVitals, ...], of: Callable[[ClusterVitals], float]) -> Metric:
    family = CounterMetricFamily(PREFIX + name, text, labels=["cluster"])
    for one in clusters:
        family.add_metric([one.cluster], of(one))
    return family


def _by_reason(
    name: str, text: str, clusters: tuple[ClusterVitals, ...], of: Callable[[ClusterVitals], Mapping[str, int]]
) -> Metric:
    family = CounterMetricFamily(PREFIX + name, text, labels=["cluster", "reason"])
    for one in clusters:
        for reason, number in of(one).items():
            family.add_metric([one.cluster, reason], number)
    return family


def _histogram(name: str, text: str, values: Distribution) -> Metric:
    bounds = [*map(str, values.bounds), "+Inf"]
    family = HistogramMetricFamily(PREFIX + name, text)
    family.add_metric([], list(zip(bounds, map(float, values.cumulative()), strict=True)), values.sum)
    return family
