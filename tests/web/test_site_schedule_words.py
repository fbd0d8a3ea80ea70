"""What the pages of schedules say, from frozen answers: filters, marks, charts, forms, badges."""

from dataclasses import replace

import pytest
from flask import Flask

from taskledger.ledger.answers import ScheduleRow, Span, TickRow
from taskledger.ledger.beat_answers import Adherence, BeatRow, EntrySettings, FindingRow
from taskledger_web import badges, callouts, dues, entries, evidence, expectations, strip, verdict_filter, view

SECOND, HOUR = 1_000_000, 3_600_000_000
NOW = 1_795_000_000 * SECOND


def tick(hours_ago: int, fire: str = "on_time", **more: object) -> TickRow:
    """A due time so many hours ago, fired a second later if it fired at all."""
    due_at = NOW - hours_ago * HOUR
    plain = TickRow(due_at, fire, None, None, None, None, is_final=True, note=None)
    if fire in ("on_time", "late"):
        plain = plain._replace(outcome="ok", fired_at=due_at + SECOND, lateness_s=1.0, task_id="t")
    return plain._replace(**more)


def row(name: str = "nightly", *ticks: TickRow, **more: object) -> ScheduleRow:
    """An hourly entry with these due times."""
    known = {"evidence": "task-sent", "median_lateness_s": None, "next_due_at": NOW + HOUR} | more
    return ScheduleRow(
        name=name, cluster="default", task=f"shop.{name}", expression="0 * * * *", words="every hour", timezone="UTC",
        source="proj (beat_schedule)", enabled=True, read_at=NOW, ticks=ticks, **known,
    )  # fmt: skip


def finding(kind: str, entry: str | None = None, *, number: int = 1, severity: str = "alarm") -> FindingRow:
    return FindingRow(kind, "default", entry, NOW - HOUR, None, number, "it happened", severity)


def names(verdict: str, text: str, *rows: ScheduleRow) -> list[str]:
    """Who is left of these when the address asks so."""
    asked = verdict_filter.read(verdict, text)
    return [pair[0].name for pair in verdict_filter.chosen(entries.judged(rows, NOW), asked)]


def test_filters_name_what_became_of_due_times():
    """Each word of `verdict=` leaves the entries that have such a due time; several words, those that have one."""
    rows = (
        row("well", tick(1)),
        row("missed", tick(2, "missed"), tick(1)),
        row("unsent", tick(1, "failed_to_send", error="no")),
        row("twice", tick(1, flags=("duplicate",))),
        row("two", tick(1, flags=("two_beats",))),
        row("deaf", tick(1, "unknown")),
        row("never", tick(1, "missed")),
        row("broken", tick(1, outcome="failed")),
    )

    assert names("", "", *rows) == ["missed", "never", "unsent", "broken", "twice", "two", "deaf", "well"]
    assert names("missed", "", *rows) == ["missed", "never"]
    assert names("failed_to_send,duplicate", "", *rows) == ["unsent", "twice"]
    assert names("two_beats", "", *rows) == ["two"]
    assert names("unknown", "", *rows) == ["deaf"]
    assert names("never_fired", "", *rows) == ["never", "unsent", "deaf"]
    assert names("failed", "", *rows) == ["broken"]
    assert names("not_ok", "", *rows) == ["missed", "never", "unsent", "broken", "twice", "two"]
    assert names("", "SHOP.T", *rows) == ["twice", "two"]


def test_a_filter_that_cannot_be_read_filters_nothing():
    """A word that is no verdict is said, with what may have been meant, and every entry stays."""
    asked = verdict_filter.read("mised", "")

    assert asked.problem == "verdict: 'mised' is none; did you mean missed?"
    assert names("mised", "", row("well", tick(1))) == ["well"]


def test_chips_take_their_word_back():
    """A chosen chip leads to the address without it, another to the one with it; none is offered that nobody has."""
    rows = entries.judged((row("a", tick(1, "missed")), row("b", tick(1, "late"))), NOW)
    chips = {chip.token: chip for chip in verdict_filter.chips(rows, verdict_filter.read("missed", ""))}

    assert set(chips) == {"not_ok", "missed", "late", "never_fired"}
    assert (chips["missed"].is_chosen, chips["missed"].toggled, chips["missed"].number) == (True, None, 1)
    assert chips["late"].toggled == "missed,late"


def test_problems_come_first_and_what_is_muted_last():
    """An alarm is worse than any mark; a muted entry comes last, says so, and counts no problem."""
    muted = row("muted", tick(1, "missed"), settings=EntrySettings(muted_until_at=NOW + 1))
    over = row("over", tick(1, "missed"), settings=EntrySettings(muted_until_at=NOW - 1))
    storm = row("storm", tick(1), findings=(finding("refire_storm", "storm"),))

    pairs = entries.judged((row("well", tick(1)), muted, over, storm), NOW)

    assert [pair[0].name for pair in pairs] == ["storm", "over", "well", "muted"]
    assert (pairs[-1][1].sentence, pairs[-1][1].problems) == ("Missed 1 of 1; muted", 0)


def test_a_due_time_that_was_sent_twice_has_a_mark():
    """Twice is worse than late and better than failed, in mark and words."""
    assert strip.mark_of(tick(1, flags=("duplicate",))).text == "Twice"
    assert strip.mark_of(tick(1, "late", flags=("two_beats",))).text == "Twice"
    assert strip.mark_of(tick(1, flags=("duplicate",))._replace(outcome="failed")).text == "Failed"
    assert strip.describe(tick(1, flags=("duplicate",))) == "on time, sent more than once, succeeded"
    assert strip.verdict(row("a", tick(1, flags=("duplicate",)))).sentence == "Sent twice 1 of 1"


def test_strips_fill_lines_from_the_end():
    """93 marks make three lines, of which the last is full; every strip is as wide as a line."""
    drawn = strip.strip(tuple(tick(hours) for hours in range(93, 0, -1)), str)

    assert (drawn.width, drawn.height) == (33 * strip.PITCH, 2 * strip.LINE + strip.TALL)
    assert (drawn.places[0].x, drawn.places[0].y) == (6 * strip.PITCH, 0)
    assert (drawn.places[-1].x, drawn.places[-1].y) == (32 * strip.PITCH, 2 * strip.LINE)
    assert strip.strip((tick(1),), str).width == 33 * strip.PITCH


@pytest.mark.parametrize(
    ("counts", "shown", "beside"),
    [
        ((9999, 1, 0, 0, 18, 0), "99.9 %", "18 not known"),
        ((30, 0, 0, 0, 0, 2), "100 %", "2 off or skipped"),
        ((0, 0, 0, 0, 5, 0), "", "5 not known"),
        ((1, 1, 0, 0, 0, 0), "50 %", ""),
    ],
)
def test_adherence_names_what_it_leaves_out(counts: tuple[int, ...], shown: str, beside: str):
    """The percentage is never rounded up to a hundred, is nothing where nothing can be judged, and names the rest."""
    assert (entries.percent(Adherence(*counts)), entries.left_out(Adherence(*counts))) == (shown, beside)


def test_countdowns_tell_what_a_clock_would():
    """The time until a due time in whole seconds, minutes, hours."""
    waits = [entries.countdown(NOW + wait * SECOND, NOW) for wait in (-5, 6, 130, 85_560)]

    assert waits == ["due now", "in 6 s", "in 2 m 10 s", "in 23 h 46 m"]


def test_findings_are_one_sentence_each(app: Flask):
    """Alarms first; extras are a count, not said twice; the entry has a link, beat as a whole leads to its page."""
    rows = (
        finding("never_fired", "a", severity="warning"),
        finding("two_beats", number=2),
        replace(finding("refire_storm", "b/c", number=929), sentence="sent 929 times in 2 s"),
    )
    with app.test_request_context("/schedules"):
        told = callouts.of_findings(rows)

    assert {one.subject: (one.href, one.text, one.times) for one in told} == {
        "Two beats": ("/beats", "It happened.", "2 times"),
        "Refire storm: b/c": ("/schedules/b%2Fc", "Sent 929 times in 2 s.", ""),
        "Never fired: a": ("/schedules/a", "It happened.", ""),
    }
    assert told[-1].subject == "Never fired: a"


def test_lateness_has_a_height_and_what_was_not_sent_a_rail():
    """A later fire stands higher, on a scale of tens; what was never sent stands on the rail above all of them."""
    seen = view.View(NOW, view.times.zone_named("UTC"), "system", keys=False)
    ticks = [tick(4), tick(3, "late", lateness_s=100.0), tick(2, "late", lateness_s=7200.0), tick(1, "missed")]

    points = dues.chart(ticks, Span(NOW - 5 * HOUR, NOW), seen).points

    assert [point.y for point in points] == sorted((point.y for point in points), reverse=True)
    assert [point.is_fired for point in points] == [True, True, True, False]
    assert points[-1].y == dues.RAIL
    assert [point.x for point in points] == ["20.00%", "40.00%", "60.00%", "80.00%"]
    assert "1 m 40 s after it was due" in points[1].title


def test_the_spread_counts_every_send_that_is_known():
    """Bars from the first to the last that is not empty; percentiles are values that occurred."""
    late = [0.02] * 18 + [5.0, 95.0]
    found = dues.spread([tick(1, lateness_s=value) for value in late] + [tick(1, "missed")])

    assert found is not None
    assert [(bar.word, bar.number) for bar in found.bars] == [
        ("within 0.1 s", 18), ("0.1 to 1 s", 0), ("1 to 10 s", 1), ("10 to 60 s", 0), ("1 to 10 min", 1),
    ]  # fmt: skip
    assert (found.number, found.p50_s, found.p95_s, found.most_s) == (20, 0.02, 5.0, 95.0)
    assert dues.spread([tick(1, "missed")]) is None


def test_settings_are_read_as_durations():
    """Empty is the default; 90, 30s and 2h are durations; muting counts from now, and keeping it changes nothing."""
    sent = {"grace_s": "90", "receive_within_s": "", "max_runtime_s": "2h", "mute": "1d"}

    form = expectations.read(sent, None, NOW)
    kept = expectations.read({"mute": "keep"}, form.settings, NOW + HOUR)
    lifted = expectations.read({"mute": ""}, form.settings, NOW + HOUR)

    assert form.settings == EntrySettings(90.0, None, 7200.0, NOW + 24 * HOUR)
    assert kept.settings == EntrySettings(None, None, None, NOW + 24 * HOUR)
    assert lifted.settings == EntrySettings()
    assert [field.text for field in expectations.shown(form.settings, NOW).fields] == ["90s", "", "2h"]


@pytest.mark.parametrize(("text", "problem"), [
    ("soon", "'soon' is not a duration: write 30s, 5m, 2h, or nothing for the default"),
    ("0", "'0' is not between 1s and 1d"),
    ("9999999999999d", "'9999999999999d' is not a duration: write 30s, 5m, 2h, or nothing for the default"),
    ("-5", "'-5' is not a duration: write 30s, 5m, 2h, or nothing for the default"),
])  # fmt: skip
def test_settings_that_cannot_be_read_are_shown_again(text: str, problem: str):
    """What was typed stays, with what is wrong with it; nothing is kept."""
    form = expectations.read({"grace_s": text, "max_runtime_s": "5m"}, EntrySettings(1.0), NOW)

    assert form.settings is None
    assert (form.fields[0].text, form.fields[0].problem) == (text, problem)
    assert (form.fields[2].text, form.fields[2].problem) == ("5m", None)


@pytest.mark.parametrize(("ticks", "word"), [
    ((tick(1),), "ok"),
    ((tick(2, "missed"), tick(1)), "ok"),
    ((tick(2, "missed"), tick(1, "overdue"), tick(0, "pending")), "missed"),
    ((tick(1, "late"),), "late"),
    ((tick(1, "failed_to_send"),), "not sent"),
    ((tick(1, outcome="failed"),), "failed"),
    ((tick(2), tick(1, "unknown")), "unknown"),
    ((tick(1, outcome="unknown"),), "unknown"),
    ((), "unknown"),
])  # fmt: skip
def test_a_badge_says_what_the_last_decided_due_time_came_to(ticks: tuple[TickRow, ...], word: str):
    """What is still open decides nothing; what is not known is unknown, never well."""
    assert badges.word_of(row("a", *ticks), NOW) == word
    assert word in badges.COLOURS


def test_evidence_is_told_best_first():
    """Each level with its entries, best first; a beat that tells of itself is a probe, whatever the entries say."""
    rows = (row("a", evidence="worker only"), row("b", evidence="task-sent"), row("c", evidence="worker only"))
    beat = BeatRow(
        "default", "b1", "vm", 1, None, None, None, NOW, None, None, NOW, None, 0, 0, "online", None
    )  # fmt: skip

    assert [(level.name, level.number) for level in evidence.levels(rows)] == [("task-sent", 1), ("worker only", 2)]
    assert not evidence.has_probe(rows, ())
    assert evidence.has_probe(rows, (beat,))
    assert evidence.at_once((beat, replace(beat, beat_id="b2"), replace(beat, state="offline"))) == [("default", 2)]
