"""Take secrets out of events before anything is kept: by their keys, by their looks, and by the rules for each task."""

import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any, NamedTuple

from taskledger import failures
from taskledger.events import MAX_QUARANTINED_BYTES, Event, Malformed, canonical, restore
from taskledger.redaction_rules import Keep, KeyChanges, Payloads, ValuePatterns
from taskledger.schedules import Entry
from taskledger.secret_keys import SecretKeys, secret_keys
from taskledger.secret_texts import KEY_MARK, redact_keys
from taskledger.secret_values import CARD_RULES, VALUE_RULES, is_card_number, user_rule, value_search
from taskledger.suspicion import suspicion

#: what stands for a payload of which nothing is kept
NONE_MARK = "[redacted: payloads none]"
#: what stands for input that cannot be searched
UNREADABLE_MARK = "[redacted: not readable as text]"
#: by these an event is found and put together with others: they are never changed
IDENTIFIERS = frozenset(("type", "timestamp", "hostname", "pid", "clock", "utcoffset", "uuid", "root_id", "parent_id"))
#: `session:cleanup` may be the name of a task or queue, and is no key with a value
NAMES = frozenset(("name", "queue", "exchange", "routing_key", "sw_ident", "sw_ver", "sw_sys"))
#: what holds a number that is another each time, as events are sent
_NUMBERS = frozenset(("runtime", "retries", "freq", "active", "processed", "loadavg"))
#: the group of what beat's probe tells (taskledger/integrations/beat.py)
BEAT = "beat-"
#: by these an entry is found again, in its own events and in its other sources
_ENTRY_NAMES = ("entry", "task", "queue", "shadow", "hash", "beat_id", "scheduler")
#: what an entry gives to its task, and what beat says of its failure
_ENTRY_PAYLOAD = ("args", "kwargs", "message", "cause")
#: what a task was given, what it gave back and how it failed
_PAYLOAD = ("args", "kwargs", "result", "exception", "traceback")

#: texts without a secret that are remembered: most arguments come twice, with task-sent and with task-received
_MAX_CLEAN, _MAX_CLEAN_CHARS = 8_192, 512
#: sets of fields that are remembered, and how many fields such a set may have
_MAX_SHAPES, _MAX_SHAPE_FIELDS = 1_000, 64

#: a larger number may be that of a card
_SMALL = 10**12
_FLOATS = frozenset({float})
# Numbers that orjson cannot write as they are (see events.py).
_INEXACT = re.compile(rb"\d{19}|NaN|Infinity")
# Bytes of no text, or of pickle's protocol 0, which looks like one.
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]|\np\d+\n")
#: JSON in base64, as it is in the envelopes of some transports
_BASE64 = re.compile(r"(?<![\w+/=-])(?:eyJ|ewog|W3s|W1t|Wwog)[\w+/-]{20,}={0,2}")
#: where input was cut, the last word may be half a secret
LAST_CHARS = 1024
_LAST_WORD = re.compile(rf"[^\s,'\"]{{1,{LAST_CHARS}}}\Z")


class _Shape(NamedTuple):
    """What an event with these fields must be asked for."""

    texts: Callable[[dict[str, Any]], tuple[Any, ...]]
    #: which hold texts as well, when somebody sends some
    numbers: Callable[[dict[str, Any]], tuple[Any, ...]]
    names: Callable[[dict[str, Any]], tuple[Any, ...]]
    has_secret_key: bool


@dataclass(frozen=True, slots=True)
class Redaction:
    """The rules, ready for use. What it remembers is bounded, and changes nothing but its speed."""

    payloads: Payloads
    keys: SecretKeys
    redact_values: Callable[[str], str] = field(compare=False, repr=False)
    is_suspicious: Callable[[str], bool] = field(compare=False, repr=False)
    _clean: set[str | None] = field(default_factory=lambda: {None}, compare=False, repr=False)
    _clean_names: set[str | None] = field(default_factory=set, compare=False, repr=False)
    _shapes: dict[tuple[str, ...], _Shape] = field(default_factory=dict, compare=False, repr=False)

    def text(self, text: str) -> str:
        """The text without its secrets; the same object if there are none."""
        if text in self._clean:
            return text
        if self.is_suspicious(text):
            found = redact_keys(self.redact_values(text), self.keys)
            if found != text:
                return found
        _remember(self._clean, text)
        return text

    def name(self, text: str) -> str:
        """As `text`, for what may look like a key with a value, and is none."""
        if text in self._clean_names:
            return text
        found = self.redact_values(text)
        if found != text:
            return found
        _remember(self._clean_names, text)
        return text

    def is_clean(self, fields: dict[str, Any]) -> bool:
        """Whether a quick look at an event finds nothing. This is in the path of every event."""
        shape = self._shapes.get(tuple(fields)) or self._shape(fields)
        if shape.has_secret_key:
            return False
        texts, names = shape.texts(fields), shape.names(fields)
        try:
            # Most texts were there before: with task-sent, or with another task.
            is_known, are_known_names = self._clean.issuperset(texts), self._clean_names.issuperset(names)
        except TypeError:
            is_known = are_known_names = False  # A list or an object is among them.
        return (
            (is_known or self._are_clean(texts))
            and self._are_clean(shape.numbers(fields))
            and (are_known_names or self._are_clean_names(names))
        )

    def _are_clean(self, values: tuple[Any, ...]) -> bool:
        clean = self._clean
        for value in values:
            if value.__class__ is str:
                if value not in clean and self.text(value) != value:
                    return False
            elif value and value.__class__ is not float and not _is_plain_number(value):
                return False
        return True

    def _are_clean_names(self, names: tuple[Any, ...]) -> bool:
        return all(isinstance(name, str) and self.name(name) == name for name in names)

    def _shape(self, fields: dict[str, Any]) -> _Shape:
        told = [key for key in fields if key not in IDENTIFIERS and key not in NAMES]
        texts, numbers = ([key for key in told if (key in _NUMBERS) == is_number] for is_number in (False, True))
        names = [key for key in fields if key in NAMES]
        has_secret = any(self.keys.is_secret(key) or self.text(key) != key for key in told)
        shape = _Shape(_getter(texts), _getter(numbers), _getter(names), has_secret)
        if len(fields) <= _MAX_SHAPE_FIELDS:
            if len(self._shapes) >= _MAX_SHAPES:
                self._shapes.clear()
            self._shapes[tuple(fields)] = shape
        return shape


def compiled(
    keys: KeyChanges | None = None, values: ValuePatterns | None = None, payloads: Payloads | None = None
) -> Redaction:
    """The default rules with what people say in the settings `redact_keys`, `redact_values` and `payloads`."""
    keys, values, payloads = keys or KeyChanges(), values or ValuePatterns(), payloads or Payloads()
    rules = (*VALUE_RULES, *CARD_RULES, *(user_rule(name, pattern) for name, pattern in values.patterns))
    wanted = secret_keys(keys.added, keys.removed)
    patterns = [pattern for _, pattern in values.patterns]
    return Redaction(payloads, wanted, value_search(rules), suspicion(wanted, patterns))


def keep_of(event: Event, redaction: Redaction) -> Keep:
    """What is kept of an event by its own name; of a task's event that does not say its name, by the strictest rule."""
    if event.task_id is None or not redaction.payloads.rules:
        return Keep.REDACTED
    name = event.fields.get("name")
    return redaction.payloads.keep_of(name) if isinstance(name, str) and name else redaction.payloads.strictest


def redacted(event: Event, redaction: Redaction, keep: Keep | None = None) -> Event:
    """The event without its secrets: the same object if there are none. Never raises; takes linear time.

    Its id stays that of the raw event. `keep` is what the rule for its task says, where the event's own name is not
    all that is known: only task-sent and task-received say it (celery/worker/request.py).
    """
    if event.type.startswith(BEAT):
        return event if not redaction.payloads.rules and redaction.is_clean(event.fields) else _remade(event, redaction)
    if keep is None and redaction.payloads.rules:
        keep = keep_of(event, redaction)
    if keep is Keep.FULL or (keep is not Keep.NONE and redaction.is_clean(event.fields)):
        return event
    return _remade(event, redaction, keep)


def _remade(event: Event, redaction: Redaction, keep: Keep | None = None) -> Event:
    try:
        fields = restore(event.body)
        is_changed = _drop_payload(fields) if keep is Keep.NONE else False
        redact = _redact_beat if event.type.startswith(BEAT) else _redact_fields
        if not redact(fields, redaction) and not is_changed:
            return event
        body = canonical(fields, is_exact=_INEXACT.search(event.body) is None)
    except (ValueError, RecursionError):
        # Nested just as deep as Python can follow, but for the few calls that we are in by now.
        fields = {key: value for key, value in event.fields.items() if key in IDENTIFIERS} | {"body": UNREADABLE_MARK}
        body = canonical(fields, is_exact=False)
    return event.with_body(body)


def redacted_rows(entries: list[dict[str, Any]], redaction: Redaction) -> list[dict[str, Any]]:
    """Entries as beat-schedule has them, without their secrets; those that are given stay as they are."""
    fields = {"entries": [dict(entry) for entry in entries]}
    _redact_beat(fields, redaction)
    return fields["entries"]


def redacted_payload(fields: dict[str, Any], task_name: str | None, redaction: Redaction) -> dict[str, Any]:
    """Arguments, result and failure of a task, by the names that events have for them, without their secrets.

    Values may be any JSON. Where the task's name is not known, the strictest rule counts.
    """
    payloads = redaction.payloads
    keep = payloads.strictest if payloads.rules and not task_name else payloads.keep_of(task_name or "")
    if keep is Keep.FULL:
        return fields
    made = dict(fields)
    if keep is Keep.NONE:
        _drop_payload(made)
    _redact_fields(made, redaction)
    return made


def redacted_entry(entry: Entry, redaction: Redaction) -> Entry:
    """A schedule entry as the events of what it sends will be: else neither would be known by the other."""
    keep = redaction.payloads.keep_of(entry.task)
    if keep is Keep.FULL:
        return entry
    made = [
        None if text is None else NONE_MARK if keep is Keep.NONE else redaction.text(text)
        for text in (entry.args, entry.kwargs)
    ]
    return replace(entry, args=made[0], kwargs=made[1])


def redacted_malformed(item: Malformed, redaction: Redaction) -> Malformed:
    """Input that could not be used, without its secrets. It may be of any task, so the strictest rule counts."""
    keep = redaction.payloads.strictest
    if keep is Keep.FULL:
        return item
    if keep is Keep.NONE:
        body = NONE_MARK.encode()
    else:
        text = _text_of(item)
        found = UNREADABLE_MARK if text is None else _BASE64.sub(UNREADABLE_MARK, redaction.text(text))
        body = found.encode()
    # What parsers say after their first line is what they were reading.
    return item._replace(detail=redaction.text(item.detail.partition("\n")[0]), body=body)


def _text_of(item: Malformed) -> str | None:
    """What can be searched; None if that is nothing."""
    if item.reason == "compressed" or _BINARY.search(item.body):
        return None
    is_cut = item.size > MAX_QUARANTINED_BYTES
    try:
        # The last character may be cut as well, and a character has up to four bytes.
        text = item.body.decode("utf-8", "ignore" if is_cut and _is_text(item.body[:-3]) else "strict")
    except UnicodeDecodeError:
        return None
    if not is_cut or text.endswith("…"):
        return text
    # Only the end: searched for from each character on, a large body would take a second.
    return text[:-LAST_CHARS] + _LAST_WORD.sub("…", text[-LAST_CHARS:])


def _is_text(body: bytes) -> bool:
    decoder = getincrementaldecoder("utf-8")()
    try:
        decoder.decode(body)
    except UnicodeDecodeError:
        return False
    return True


def _drop_payload(fields: dict[str, Any]) -> bool:
    """Replace what a task was given and gave back; of a failure its class stays."""
    before = {key: fields.get(key) for key in _PAYLOAD}
    trouble = [None if before[key] is None else str(before[key]) for key in ("exception", "traceback")]
    dropped = {key: NONE_MARK for key, value in before.items() if value is not None}
    if any(trouble):
        dropped["exception"] = f"{failures.describe(*trouble).cls}({NONE_MARK!r})"
    fields.update(dropped)
    return bool(dropped)


def _redact_fields(fields: dict[str, Any], redaction: Redaction) -> bool:
    """Redact in place; whether anything was there to do."""
    is_changed = False
    rest = {key: value for key, value in fields.items() if key not in IDENTIFIERS}
    for key in NAMES & rest.keys():
        value = rest[key]
        if isinstance(value, str):
            del rest[key]
            fields[key] = redaction.name(value)
            is_changed |= fields[key] != value
    if _redact_tree(rest, redaction):
        kept = {key: value for key, value in fields.items() if key in IDENTIFIERS or key in NAMES}
        fields.clear()
        fields.update(rest | kept)
        is_changed = True
    return is_changed


def _redact_tree(root: dict[str, Any], redaction: Redaction) -> bool:
    """Redact all that is nested in it, in place and without recursion; whether anything was there to do."""
    is_changed = False
    pending: list[Any] = [root]
    while pending:
        branch = pending.pop()
        items = list(branch.items() if isinstance(branch, dict) else enumerate(branch))
        for key, value in items:
            made = _leaf(key, value, redaction)
            if made is not value:
                branch[key] = made
                is_changed = True
            elif isinstance(value, dict | list):
                pending.append(value)
        is_changed |= isinstance(branch, dict) and _redact_own_keys(branch, redaction)
    return is_changed


def _leaf(key: Any, value: Any, redaction: Redaction) -> Any:
    """What stands for a value; the same object if it is no secret."""
    if isinstance(value, bool) or value in ("", KEY_MARK):
        return value
    # A mark in a key names a rule, and no secret.
    if isinstance(key, str) and "[redacted: " not in key and redaction.keys.is_secret(key):
        return KEY_MARK
    if isinstance(value, str):
        return redaction.text(value)
    if isinstance(value, int) and is_card_number(str(value)):
        return "[redacted: rule card]"
    return value


def _redact_own_keys(branch: dict[str, Any], redaction: Redaction) -> bool:
    renamed = {key: redaction.text(key) for key in branch if redaction.text(key) != key}
    if not renamed:
        return False
    items = [(renamed.get(key, key), value) for key, value in branch.items()]
    branch.clear()
    branch.update(items)
    return True


def _redact_beat(fields: dict[str, Any], redaction: Redaction) -> bool:
    """As `_redact_fields`, by the rule for each entry's task; names stay what they are in the entry's other sources."""
    is_changed = False
    aside: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for branch in _branches(fields):
        keep = redaction.payloads.keep_of(str(branch["task"])) if branch.get("task") else Keep.REDACTED
        if keep is Keep.NONE:
            is_changed |= _drop_entry(branch)
        kept = (*_ENTRY_NAMES, *(_ENTRY_PAYLOAD if keep is Keep.FULL else ()))
        aside.append((branch, {key: branch.pop(key) for key in kept if isinstance(branch.get(key), str)}))
    is_changed |= _redact_fields(fields, redaction)
    for branch, values in aside:
        for key, value in values.items():
            branch[key] = redaction.name(value) if key in _ENTRY_NAMES else value
            is_changed |= branch[key] != value
    return is_changed


def _branches(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The event, each of its entries, and what each has for options."""
    entries = fields.get("entries")
    for branch in (fields, *(entries if isinstance(entries, list) else ())):
        if isinstance(branch, dict):
            yield branch
            if isinstance(branch.get("options"), dict):
                yield branch["options"]


def _drop_entry(branch: dict[str, Any]) -> bool:
    """Replace what an entry gives to its task; of a failure its class stays."""
    dropped = {key: NONE_MARK for key in _ENTRY_PAYLOAD if branch.get(key) is not None}
    if "cause" in dropped:
        dropped["cause"] = f"{str(branch['cause']).partition(':')[0]}: {NONE_MARK}"
    is_changed = any(branch[key] != value for key, value in dropped.items())
    branch.update(dropped)
    return is_changed


def _is_plain_number(value: object) -> bool:
    """Whether it is a number too small to be a card's, or a list of measurements, as in worker-heartbeat."""
    if isinstance(value, int):
        return value < _SMALL
    return isinstance(value, float) or (isinstance(value, list) and _FLOATS.issuperset(map(type, value)))


def _getter(keys: list[str]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    if not keys:
        return lambda _fields: ()
    # Of one key alone, itemgetter would make no tuple.
    return itemgetter(*keys, keys[0])


def _remember(texts: set[str | None], text: str) -> None:
    if len(text) <= _MAX_CLEAN_CHARS:
        if len(texts) >= _MAX_CLEAN:
            texts.clear()
            texts.add(None)  # where an event says nothing
        texts.add(text)
