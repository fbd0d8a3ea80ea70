"""Redaction: secrets go, wherever people's tasks have them, and what only looks so stays."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from secrets_corpus import BROKEN, INNOCENT, JWT, PLANTED
from stories import TRACEBACK, decoded, task_event

from taskledger.events import MAX_QUARANTINED_BYTES, Malformed, decode, refuse, restore
from taskledger.redaction import (
    NONE_MARK,
    UNREADABLE_MARK,
    compiled,
    redacted,
    redacted_entry,
    redacted_malformed,
)
from taskledger.redaction_rules import Keep, parse_keys, parse_payloads, parse_values
from taskledger.schedules import Crontab, Entry
from taskledger.secret_keys import DEFAULT_KEYS, secret_keys, words

REDACTION = compiled()
#: pieces of which hostile texts are made
PIECES = (
    "password", "token", "Authorization", "Cookie", "session:", "user", "--", "'", '"', "\\'", '\\"', "b'", '"""', ": ",
    "=", "=>", "==", ":", ", ", "&", ";", "{", "}", "(", ")", "[", "]", "<", ">", "</", "hunter2", "x", "1", "abc def",
    " ", "\n", "\\n", "\r", "\\\\", "é", "://", "u:p@h", "?sig=", "%3D", "Bearer ", "Basic dXNlcjpwYXNz",
    "eyJhbGciOi.aaaa",
    "4111 1111 1111 1111", "...", "…", "None", "True", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----",
    "[redacted: rule key]", "[redacted: rule", "rule key]", "ghp_0123456789abcdef", "Decimal(", "str",
    '  File "a.py", line 1, in f\n    ',
)  # fmt: skip
hostile = st.lists(st.sampled_from(PIECES), max_size=16).map("".join)
documents = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | hostile,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(hostile, inner, max_size=4),
)
#: no letter of it is part of a sign that could raise suspicion
harmless = st.text(st.sampled_from("aehimnorlt ,.()[]{}'\"=:\n\\é"), max_size=200)


def event(field: str, value: Any, kind: str = "task-succeeded", task_id: str | None = "u1") -> Any:
    raw = {"type": kind, "timestamp": 1.7e9, "uuid": task_id, "hostname": "h", field: value}
    return decode(json.dumps(raw).encode())[0]


def redact(text: str, **rules: Any) -> str:
    return compiled(**rules).text(text)


class TestCorpus:
    @pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
    def test_planted(self, planted):
        """No secret is left in an event, neither in its fields nor in its bytes; its id is that of the original."""
        before = event(planted.field, planted.value)
        after = redacted(before, REDACTION)
        kept = str(after.fields) + json.dumps(after.fields) + after.body.decode() + str(restore(after.body))

        assert [secret for secret in planted.secrets if secret in kept or json.dumps(secret)[1:-1] in kept] == []
        assert (after.id, after.at, after.task_id, after.type) == (before.id, before.at, before.task_id, before.type)
        assert restore(after.body) == after.fields

    @pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
    def test_planted_were_there(self, planted):
        """The corpus is no fraud: before, every secret can be found."""
        kept = str(event(planted.field, planted.value).fields)

        assert [secret for secret in planted.secrets if secret not in kept and repr(secret)[1:-1] not in kept] == []

    @pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
    def test_twice(self, planted):
        """What was redacted once is not changed by doing it again."""
        once = redacted(event(planted.field, planted.value), REDACTION)

        assert redacted(once, REDACTION) is once or redacted(once, REDACTION) == once

    @pytest.mark.parametrize(("field", "value"), INNOCENT, ids=lambda value: str(value)[:60])
    def test_innocent(self, field, value):
        """What is no secret is not touched: the same event comes out, not even a copy."""
        before = event(field, value)

        assert redacted(before, compiled()) is before

    @pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
    def test_broken(self, broken):
        """Input that cannot be used is set aside without its secrets, in its bytes and in what is said of it."""
        items = decode(broken.body, broken.content_type)
        after = [redacted_malformed(item, REDACTION) for item in items if isinstance(item, Malformed)]
        kept = b"".join(item.body + item.detail.encode() for item in after).decode("latin-1")

        assert len(after) == len(items) > 0
        assert [secret for secret in broken.secrets if secret in kept] == []
        assert [(item.id, item.reason, item.size) for item in after] == [(i.id, i.reason, i.size) for i in items]

    def test_enough(self):
        """The corpus is as large as it is said to be."""
        assert len({planted.secrets for planted in PLANTED}) >= 80
        assert len(INNOCENT) >= 60


class TestWherever:
    @pytest.mark.parametrize("field", ["runtime", "retries", "freq", "loadavg", "name", "queue", "something"])
    @pytest.mark.parametrize("nest", [lambda text: text, lambda text: [text], lambda text: {"x": text}])
    def test_a_field_of_numbers(self, field: str, nest: Any) -> None:
        """A secret is found in every field, also where events have a number or a name, and however often it comes."""
        rules = compiled()
        for _ in range(2):
            after = redacted(event(field, nest("postgresql://app:hunter2@db/shop")), rules)
            assert b"hunter2" not in after.body

    def test_a_false_alarm(self) -> None:
        """An event of which a text only looks suspicious is the very same event, the first time and again."""
        rules = compiled()
        before = event("exception", "KeyError('no such key: token_count')")
        assert rules.is_suspicious(before.fields["exception"])
        assert redacted(before, rules) is before
        assert redacted(before, rules) is before


class TestMarks:
    @pytest.mark.parametrize(("before", "after"), [
        ("{'password': 'x', 'n': 1}", "{'password': '[redacted: rule key]', 'n': 1}"),
        ("{'password': 12, 'n': 1}", "{'password': [redacted: rule key], 'n': 1}"),
        ("{'token': None}", "{'token': [redacted: rule key]}"),
        ("{'a': {'auth': ['x', {'y': (1,)}], 'b': 2}}", "{'a': {'auth': [redacted: rule key], 'b': 2}}"),
        ("password=x&n=1", "password=[redacted: rule key]&n=1"),
        ("Cookie: a=b; c=d\nHost: h", "Cookie: [redacted: rule key]\nHost: h"),
        ("redis://u:x@h:6379/0", "redis://u:[redacted: rule url-password]@h:6379/0"),
        (f"({JWT!r}, 1)", "('[redacted: rule jwt]', 1)"),
        ("pay 4539 1488 0343 6467 now", "pay [redacted: rule card] now"),
        ("Bearer abc123def456ghi", "Bearer [redacted: rule bearer]"),
        ("{'password': 'hunt", "{'password': '[redacted: rule key]"),
        ('<Password type="x">', '<Password type="x">'),
    ])  # fmt: skip
    def test_what_stands_there(self, before, after):
        """A mark names the rule, and stands exactly where the secret was."""
        assert redact(before) == after

    def test_exception_keeps_its_class(self):
        """What fails is still grouped by its class and place."""
        (failed,) = decoded(task_event("failed", exception="AuthError(\"no: password='x1x'\")", traceback=TRACEBACK))

        assert redacted(failed, REDACTION).fields["exception"] == "AuthError(\"no: password='[redacted: rule key]'\")"
        assert redacted(failed, REDACTION).fields["traceback"] == TRACEBACK

    def test_identifiers_stay(self):
        """What an event is found by is not changed, whatever it looks like."""
        (made,) = decode(json.dumps({
            "type": "task-sent", "timestamp": 1.0, "uuid": "redis://u:x@h", "root_id": JWT, "parent_id": JWT,
            "hostname": "password=x", "kwargs": "{'token': 'x'}",
        }).encode())  # fmt: skip
        after = redacted(made, REDACTION)

        assert after != made
        assert {key: after.fields[key] for key in ("uuid", "root_id", "parent_id", "hostname")} == {
            key: made.fields[key] for key in ("uuid", "root_id", "parent_id", "hostname")
        }

    def test_numbers_stay_exact(self):
        """Numbers that not every parser can write come out of a changed event as they were."""
        body = b'{"type": "task-sent", "uuid": "u", "timestamp": 1.0, "n": 123456789012345678901234567890, "x": NaN,'
        (made,) = decode(body + b"\"kwargs\": \"{'token': 'x1x'}\"}")

        assert b"123456789012345678901234567890" in redacted(made, REDACTION).body
        assert b'"x":NaN' in redacted(made, REDACTION).body


class TestKeys:
    @pytest.mark.parametrize("key", [
        *DEFAULT_KEYS, "Password", "DB_PASSWORD", "user_password", "userPassword", "password1", "passwordHash",
        "stripeApiKey", "X-API-KEY", "api key", "apikey", "accessToken", "ACCESS_TOKEN", "csrfmiddlewaretoken",
        "sessionId", "SESSION_KEY", "Proxy-Authorization", "Set-Cookie", "aws_secret_access_key", "AWSSecretKey",
        "cardNumber", "card_no", "client_secret", "dbpassword", "smtp_pass", "DB_PASS", "token_value", "oauth_token",
    ])  # fmt: skip
    def test_secret(self, key):
        """These name secrets, however they are spelled."""
        assert secret_keys().is_secret(key)

    @pytest.mark.parametrize("key", [
        "author", "authority", "authors", "authenticated", "tokenizer", "max_tokens", "total_tokens", "tokens",
        "token_count", "tokenType", "cardinality", "discard", "scorecard", "card_type", "cards_total", "session_count",
        "sessions", "possession", "sessionmaker", "routing_key", "key", "primary_key", "keyboard", "monkey",
        "secretary", "cookie_name", "password_changed_at", "passwordPolicy", "passenger", "pass", "passed", "compass",
        "low_pass",
        "user", "name",
        "credit", "ibanez", "", "_", "x" * 500 + "password",
    ])  # fmt: skip
    def test_no_secret(self, key):
        """These do not, though they look like it."""
        assert not secret_keys().is_secret(key)

    def test_memory_is_bounded(self):
        """A flood of made-up keys is not remembered for ever."""
        keys = secret_keys()
        for number in range(30_000):
            keys.is_secret(f"key{number}")

        assert len(keys._known) <= 10_000


class TestOwnRules:
    def test_own_key(self):
        """A key of one's own is found however its words are joined; other keys stay as they were."""
        keys = parse_keys("tax_id, customer-number")

        assert redact("{'taxId': 'x1', 'tax': 2}", keys=keys) == "{'taxId': '[redacted: rule key]', 'tax': 2}"
        assert "x1" not in redact("X-Customer-Number: x1", keys=keys)
        assert "x1" not in redact("{'password': 'x1'}", keys=keys)
        assert "x1" in redact("{'tax_id': 'x1'}")

    def test_key_taken_away(self):
        """A default key with - in front is not looked for any more, nor what goes with it."""
        keys = parse_keys("-session,-api_key")

        assert redact("{'session_id': 'x1', 'apiKey': 'x2'}", keys=keys) == "{'session_id': 'x1', 'apiKey': 'x2'}"
        assert "x3" not in redact("{'token': 'x3'}", keys=keys)

    def test_own_value(self):
        """A pattern of one's own is marked with its name; with a group `secret`, only that is."""
        values = parse_values(r"customer=CUST-[0-9]{4,6},pin=pin is (?P<secret>\d+)")

        assert redact("for CUST-12345, pin is 9876", values=values) == (
            "for [redacted: rule customer], pin is [redacted: rule pin]"
        )

    def test_own_value_leaves_marks_alone(self):
        """A pattern that would match a mark does not change it."""
        once = redact("{'password': 'x'}", values=parse_values("word=[a-z]+"))

        assert redact(once, values=parse_values("word=[a-z]+")) == once

    @pytest.mark.parametrize(("parse", "text", "said"), [
        (parse_keys, "-nothing", "must not take away 'nothing', which is none of the default keys (password, "),
        (parse_keys, "a,--", "must name keys such as customer_number or -session, not '-'"),
        (parse_values, "CUST-.*", "must be name=pattern, as in customer=CUST-[0-9]{6}, not 'CUST-.*'"),
        (parse_values, "a=(", "has no regular expression behind a= (missing ), unterminated subpattern at position 0)"),
        (parse_values, "a=x*", "must not match the empty text, as a= does"),
        (parse_values, "a=(x+)+y", "must not repeat a repetition, as a= does: some texts would take it for ever"),
        (parse_payloads, "billing.*", "must be rules such as billing.*=none (or redacted, or full), not 'billing.*'"),
        (parse_payloads, "billing.*=some", "must be rules such as billing.*=none (or redacted, or full), not 'bil"),
    ])  # fmt: skip
    def test_refused(self, parse, text, said):
        """What cannot be meant is refused with a sentence that goes on from the setting's name."""
        with pytest.raises(ValueError) as caught:  # noqa: PT011  The next line looks at it.
            parse(text)

        assert str(caught.value).startswith(said)

    @pytest.mark.parametrize(("parse", "text"), [
        (parse_keys, "tax_id,-session"), (parse_values, "a=x{2,3},b=y"), (parse_payloads, "billing.*=none,*=full"),
    ])  # fmt: skip
    def test_shown(self, parse, text):
        """A setting is shown as it is written."""
        assert str(parse(text)) == text


class TestPayloads:
    def test_none(self):
        """Of such a task nothing is kept but the class of what went wrong; the marks say so."""
        none = compiled(payloads=parse_payloads("billing.*=none"))
        sent, failed = decoded(
            task_event("sent", name="billing.charge", args="('plain',)", kwargs="{'a': 'plain'}", queue="mail"),
            task_event("failed", exception="AuthError('plain')", traceback=TRACEBACK),
        )
        sent, failed = redacted(sent, none), redacted(failed, none, Keep.NONE)

        assert {key: sent.fields[key] for key in ("args", "kwargs", "queue")} == {
            "args": NONE_MARK, "kwargs": NONE_MARK, "queue": "mail"
        }  # fmt: skip
        # The traceback said ValueError, and it is what a failure is known by.
        assert (failed.fields["exception"], failed.fields["traceback"]) == (f"ValueError({NONE_MARK!r})", NONE_MARK)
        assert b"plain" not in sent.body + failed.body
        assert redacted(failed, none, Keep.NONE) == failed

    def test_full(self):
        """Of such a task all is kept."""
        (sent,) = decoded(task_event("sent", name="auth.login", kwargs="{'password': 'x'}"))

        assert redacted(sent, compiled(payloads=parse_payloads("auth.*=full"))) is sent

    def test_first_match_decides(self):
        """Of the rules that match a name the first counts; without one, secrets are taken out."""
        payloads = parse_payloads("billing.refund=full,billing.*=none")

        assert [payloads.keep_of(name) for name in ("billing.refund", "billing.charge", "mail.send")] == [
            Keep.FULL, Keep.NONE, Keep.REDACTED
        ]  # fmt: skip

    @pytest.mark.parametrize(("rules", "keep"), [
        ("", Keep.REDACTED), ("a=full", Keep.REDACTED), ("*=full", Keep.FULL), ("a=none,*=full", Keep.NONE),
    ])  # fmt: skip
    def test_unknown_name(self, rules, keep):
        """What may be of any task goes by the strictest rule that any task has."""
        assert parse_payloads(rules).strictest is keep

    def test_quarantine(self):
        """What cannot be used may be of any task: with a rule `none`, nothing is kept of it."""
        (item,) = decode(b'{"type": "task-sent", "kwargs": "plain"}')

        assert redacted_malformed(item, compiled(payloads=parse_payloads("a=none"))).body == NONE_MARK.encode()
        assert redacted_malformed(item, compiled(payloads=parse_payloads("*=full"))) is item
        assert redacted_malformed(item, REDACTION) == item

    def test_worker_events(self):
        """Events that belong to no task are always redacted, and heartbeats are not touched."""
        full = compiled(payloads=parse_payloads("*=full"))
        beat = event("loadavg", [0.1, 0.2, 0.3], "worker-heartbeat", task_id=None)
        own = event("note", "password=x1x", "shop-opened", task_id=None)

        assert redacted(beat, full) is beat
        assert b"x1x" not in redacted(own, full).body

    def test_schedule_entry(self):
        """An entry's arguments are redacted as those of the events of what it sends, so that they stay equal."""
        entry = Entry("nightly", "billing.charge", Crontab(), kwargs="{'password': 'x1x'}")
        (sent,) = decoded(task_event("sent", name="billing.charge", args="()", kwargs=entry.kwargs))
        for rules in ("", "*=full", "*=none"):
            redaction = compiled(payloads=parse_payloads(rules))
            after, fields = redacted_entry(entry, redaction), redacted(sent, redaction).fields

            assert (after.args, after.kwargs) == (fields["args"], fields["kwargs"])
            assert ("x1x" in (after.kwargs or "")) == (rules == "*=full")

    @pytest.mark.parametrize("rules", ["", "*=full", "*=none", "billing.*=none,*=full"])
    def test_entries_of_beat(self, rules):
        """What beat's probe says of an entry is redacted by the rule for its task, as the entry's other sources are."""
        kwargs = "{'password': 'x1x'}"
        given = {"args": "()", "kwargs": kwargs, "options": {"queue": "token: night", "shadow": None}}
        entries = [{"entry": "password: renew", "task": name, **given} for name in ("billing.charge", "shop.pay")]
        after = redacted(beat_event("beat-schedule", entries=entries), compiled(payloads=parse_payloads(rules))).fields

        for entry in after["entries"]:
            made = Entry(entry["entry"], entry["task"], Crontab(), args="()", kwargs=kwargs)
            expected = redacted_entry(made, compiled(payloads=parse_payloads(rules)))
            assert (entry["args"], entry["kwargs"]) == (expected.args, expected.kwargs)
            assert (entry["entry"], entry["options"]["queue"]) == ("password: renew", "token: night")

    @pytest.mark.parametrize("rules", ["", "*=full", "*=none"])
    def test_failures_of_beat(self, rules):
        """Why beat could not send something is redacted by the rule for its task; the class of the cause stays."""
        said = {
            "message": "Couldn't: password=x1x",
            "cause": "EncodeError: password=x1x",
            "exception": "SchedulingError",
        }
        told = beat_event("beat-failed", entry="nightly", task="billing.charge", **said)
        after = redacted(told, compiled(payloads=parse_payloads(rules))).fields

        assert ("x1x" in str(after)) == (rules == "*=full")
        assert (after["exception"], after["entry"], after["task"]) == ("SchedulingError", "nightly", "billing.charge")
        assert after["cause"].partition(":")[0] == "EncodeError"

    def test_beat_without_secrets(self):
        """What has no secret stays the same object, whatever the rules are."""
        told = beat_event("beat-sent", entry="nightly", task="billing.charge", at=1.5, due=None)

        assert redacted(told, compiled(payloads=parse_payloads("a=none,*=redacted"))) is told
        assert redacted(told, REDACTION) is told


def beat_event(kind, **fields):
    """As beat's probe sends it."""
    common = {"type": kind, "timestamp": 1.5, "hostname": "gen1@vm", "pid": 1, "clock": 1, "utcoffset": 0}
    (found,) = decoded(common | {"beat_id": "8da7f6089c2241e29b823d571ad43563", "seq": 1, "dropped": 0} | fields)
    return found


class TestQuarantine:
    def test_cut_input(self):
        """Where a large message was cut off, half a secret may be left: the last word goes."""
        body = (
            b'{"a": "' + b"x " * (MAX_QUARANTINED_BYTES // 2 - 20) + b"redis://u:hunter2-and-much-more@h " + b"x" * 99
        )
        item = refuse(body, "not-json", "no")
        after = redacted_malformed(item, REDACTION)

        assert b"hunter2" in item.body
        assert b"hunter2" not in after.body
        assert redacted_malformed(after, REDACTION) == after

    @pytest.mark.parametrize("body", [b"\x00\x01password", b"\xff\xfepassword", b"\x82\xa8password\xa7hunter2"])
    def test_binary(self, body):
        """What cannot be searched is not kept."""
        assert redacted_malformed(refuse(body, "not-json", "no"), REDACTION).body == UNREADABLE_MARK.encode()

    def test_compressed(self):
        """A compressed body is never searched, so it is not kept either, whatever its bytes."""
        assert redacted_malformed(refuse(b"x", "compressed", "no"), REDACTION).body == UNREADABLE_MARK.encode()


class TestAnyText:
    @given(hostile)
    @settings(max_examples=1_500, deadline=None)
    def test_twice(self, text):
        """Whatever the text, redaction does not raise, and doing it twice is the same as once."""
        once = REDACTION.text(text)

        assert REDACTION.text(once) == once

    @given(st.text(max_size=300))
    def test_any_characters(self, text):
        """Every character may come, also halves of surrogate pairs."""
        once = REDACTION.text(text)

        assert REDACTION.text(once) == once

    @given(harmless)
    def test_harmless(self, text):
        """A text without a sign of a secret is not touched."""
        assert REDACTION.text(text) is text

    @given(hostile, st.sampled_from(["'", '"']))
    @settings(max_examples=500, deadline=None)
    def test_password_in_a_dictionary(self, around, quote):
        """Whatever stands before it, the value of a key is hidden."""
        text = f"{around}\n{{{quote}password{quote}: {quote}zq-Hunter-99{quote}}}"

        assert "zq-Hunter-99" not in REDACTION.text(text)

    @given(documents)
    @settings(max_examples=300, deadline=None)
    def test_any_event(self, value):
        """Whatever is in an event, its id stays, its bytes say what its fields say, and doing it twice is the same."""
        before = event("custom", value)
        once = redacted(before, REDACTION)
        twice = redacted(once, REDACTION)

        assert (once.id, twice.body) == (before.id, once.body)
        assert json.dumps(restore(once.body), sort_keys=True) == json.dumps(once.fields, sort_keys=True)

    @pytest.mark.parametrize("depth", [40, 200, 900])
    def test_deep(self, depth):
        """However deep a secret lies, it is found, or nothing of the event is kept."""
        value: Any = {"password": "zq-Hunter-99"}
        for _ in range(depth):
            value = [value]
        (made,) = decode(json.dumps({"type": "a", "timestamp": 1, "custom": value}).encode())
        kept = redacted_malformed(made, REDACTION) if isinstance(made, Malformed) else redacted(made, REDACTION)

        assert b"zq-Hunter-99" not in kept.body


#: what would take a careless search for ever
ENDLESS = (
    "'", "password=", "password='", '"password": "', "token=(", "token=[{'", "://a:", "://", "a-", "eyJ", "eyJaaaaa.",
    "-----BEGIN PRIVATE KEY-----", "Authorization: ", "<token>", "4111 ", "4", " ", "password ", "\n", "Basic ", "\\",
    "--token ", '  File "a", line 1\n    token=(a', "('password', '", "a", "tokenA", "password: str ", "session:",
    "'password', ",
    "[redacted: ", "token=a,b", "token=<", "é", "{'token': 'a', 'b': ", "password=''", 'token="a\\"b', "%3D", "?sig=",
    'Cookie: "', "token=Decimal('", "4...", "password=' ,", "{'password': ',  '", "W3si",
)  # fmt: skip


@pytest.mark.parametrize("piece", ENDLESS)
def test_time_grows_with_the_size(piece):
    """Four times the text takes about four times the time, a megabyte as well as less."""
    small, large = ((piece * size)[:size] for size in (250_000, 1_000_000))
    for before, behind in (("", ""), ("{'password': '", ""), ("token=", "!")):
        texts = [before + text + behind for text in (small, large)]

        # A square would be sixteen times. A busy machine gets a second chance.
        assert _growth(*texts) < 10 or _growth(*texts) < 10


def _growth(small: str, large: str) -> float:
    return _seconds(large) / max(_seconds(small), 0.01)


def _seconds(text: str) -> float:
    redaction = compiled()
    item = refuse(text[:MAX_QUARANTINED_BYTES].encode(), "not-json", "no")
    began = time.process_time()
    redaction.text(text)
    redacted_malformed(item, redaction)
    return time.process_time() - began


def test_memory_is_bounded():
    """However many different texts and fields come, only so many are remembered."""
    redaction = compiled()
    for number in range(20_000):
        redaction.is_clean({"type": "a", f"field{number}": f"text {number}", "name": f"name {number}"})

    assert len(redaction._clean) <= 8_192
    assert len(redaction._clean_names) <= 8_192
    assert len(redaction._shapes) <= 1_000


def test_words():
    """A key is read as people read it."""
    assert words("stripeApiKey") == words("stripe_api_key") == words("Stripe-API-Key") == ("stripe", "api", "key")
