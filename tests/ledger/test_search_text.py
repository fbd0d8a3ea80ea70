"""The search language as text: what it reads, what it refuses and where, and its canonical form."""

import re
import string
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskledger.errors import QueryError
from taskledger.ledger.search import And, Field, Not, Or, Word, parse
from taskledger.ledger.search.fields import FIELDS, FLAGS
from taskledger.ledger.search.values import Pair, Pattern

#: 2026-11-22 12:00:00 UTC, a Sunday
NOW_AT = 1_795_348_800_000_000
UUID = "2a3cf87e-c65a-44d1-931b-75c051faf4e8"


def read(text, zone="UTC"):
    return parse(text, now_at=NOW_AT, zone=ZoneInfo(zone))


def words(*texts):
    return tuple(Word(text) for text in texts)


def refusal(text):
    with pytest.raises(QueryError) as caught:
        read(text)
    assert caught.value.text == text
    return caught.value


@pytest.mark.parametrize("text", ["", "  ", "\n\t"])
def test_nothing_typed_is_no_expression(text):
    """An empty search is None."""
    assert read(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("first OR second third", Or((Word("first"), And(words("second", "third"))))),
        ("(first OR second) third", And((Or(words("first", "second")), Word("third")))),
        ("first AND second", And(words("first", "second"))),
        ("first (first second)", And(words("first", "second"))),
        ("a OR (b OR a)", Or(words("a", "b"))),
        ("first and second", And(words("first", "and", "second"))),
        ("-first", Not(Word("first"))),
        ("NOT first second", And((Not(Word("first")), Word("second")))),
        ("NOT NOT first", Not(Not(Word("first")))),
        ("-(a b)", Not(And(words("a", "b")))),
        ('"connection refused"', Word("connection refused")),
        ('"AND" "-x" "a:b"', And(words("AND", "-x", "a:b"))),
        (r'"say \"hi\" \\ C:\new"', Word(r'say "hi" \ C:\new')),
        ("stateSTARTED", Word("stateSTARTED")),
        (UUID, Field("id", read(f"id:{UUID}").values)),
        (f'"{UUID}"', Word(UUID)),
        ("ab", Word("ab")),
    ],
)
def test_words_and_operators(text, expected):
    """Words, phrases, AND, OR, NOT, minus and parentheses combine as in Flower; equal parts count once."""
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('File "/srv/app/proj.py", line 35', ("File", "/srv/app/proj.py", ",", "line", "35")),
        ("raise ValueError('bad card')", ("raise", "ValueError('bad", "card')")),
        ("ValueError: invalid", ("ValueError:", "invalid")),
        ("could not reach server: refused", ("could", "not", "reach", "server:", "refused")),
        ("a -> b", ("a", "->", "b")),
        ("celery worker --queues mail", ("celery", "worker", "--queues", "mail")),
        ("redis://broker:6379/0", None),
        ("self.run(*args, **kwargs)", ("self.run(*args,", "**kwargs)")),
        ("{'order': 6987}", ("{'order':", "6987}")),
    ],
)
def test_pasted_text_is_words(text, expected):
    """A line of a traceback, a message or an address can be pasted as it is: it is the words it is made of."""
    parts = words(*(expected or (text,)))
    assert read(text) == (And(parts) if len(parts) > 1 else parts[0])


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("stat:failed", 0, "unknown field 'stat': did you mean state:?"),
        ("a localhost:6379", 2, 'put it in quotes: "localhost:6379"'),
        ("state:faild", 6, "unknown state 'faild': did you mean failed?"),
        ("x state:failed,scheduled", 15, "did you mean is:scheduled?"),
        ("is:failed", 3, "did you mean state:failed?"),
        ("has:luck", 4, "write one of args, error, eta, result, traceback"),
        ("name:", 5, "expected a value after 'name:'"),
        ("(x OR name:)", 11, "expected a value after 'name:'"),
        ("state:failed,", 13, "expected a value after 'state:failed,'"),
        ("runtime:>", 9, "expected a value after 'runtime:>'"),
        ("kwargs:order=", 13, "expected a value after 'kwargs:order='"),
        ('say "hello', 4, "the quote opened here is never closed"),
        ('args:"hello', 5, "the quote opened here is never closed"),
        ('a ""', 2, "nothing between these quotes"),
        ("first OR", 6, "OR must be followed by something"),
        ("first AND", 6, "AND must be followed by something"),
        ("first NOT", 6, "NOT must be followed by something"),
        ("a OR OR b", 2, "OR must be followed by something"),
        ("OR a", 0, "expected something to search for before OR"),
        ("a ()", 2, "nothing in these parentheses"),
        ("a (first", 2, "never closed"),
        ("a b)", 3, "closes nothing"),
        ("((((((first))))))", 5, "exceeds 5 levels"),
        ("a" * 2049, 2048, "exceeds 2048 characters"),
        ("(first) " * 43, 342, "exceeds 128 tokens"),
        ("ab\x00c", 2, "U+0000"),
        ("ab\udc80", 2, "U+DC80"),
        ("name:" + "*a" * 9, 5, "more than 8 wildcards"),
        ("fp:xyz", 3, "hex digits"),
        ("retries:>many", 8, "cannot read 'many' as a number"),
        ("retries:..", 8, "on one side of '..'"),
        ("retries:3..1", 8, "did you mean 1..3?"),
        ("retries:" + "9" * 16, 8, "as a number"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place_and_a_way_out(text, position, message):
    """A bad search says what is wrong, where, and how to mend it."""
    error = refusal(text)

    assert message in str(error)
    assert error.position == position


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("a AND b", "a b"),
        ("NOT a", "-a"),
        ("STATE:FAILURE,retry", "state:failed,retrying"),
        ("task:a,b,a", "name:a,b"),
        ("traceback:x", "trace:x"),
        ('name:"billing.*"', 'name:"billing.*"'),
        ("kwargs:order=6987", "kwargs:order=6987"),
        ('kwargs:note="a b"', 'kwargs:note="a b"'),
        ('exc:"connection refused"*5?', 'exc:"connection refused"*5?'),
        ("id:2a3c*", "id:2a3c"),
        ('sent:"2026-11-17 03:00"', "sent:2026-11-17T03:00"),
        ("((a OR b)) c", "(a OR b) c"),
        ("a:b:c", None),
    ],
)
def test_canonical_text(text, canonical):
    """The text of an expression is its shortest plain form."""
    if canonical is None:
        refusal(text)
    else:
        assert str(read(text)) == canonical


def test_the_documented_examples_are_searches():
    """Every search in the first table of docs/search.md can be read."""
    table = (Path(__file__).parents[2] / "docs" / "search.md").read_text(encoding="utf-8").split("## Words")[0]
    examples = [text for line in table.splitlines()[6:] for text in re.findall(r"`([^`]+)`", line)]

    assert len(examples) >= 7
    assert all(read(text) for text in examples)


def test_every_node_knows_its_place():
    """A node's span is where it stands in the text."""
    text = "  state:failed -(mail OR 'x') "
    whole = read(text)
    state, without = whole.parts

    assert text[slice(*whole.span)].startswith("state:failed -(mail OR 'x'")
    assert text[slice(*state.span)] == "state:failed"
    assert text[slice(*without.part.parts[0].span)] == "mail"


def test_lists_are_for_names_not_for_texts():
    """A comma separates names; in a text it is a comma."""
    assert len(read("name:a,b").values) == 2
    assert read("args:a,b").values == (Pattern(("a,b",)),)
    assert read('name:"a,b"').values == (Pattern(("a,b",), is_exact=True),)


def test_pairs_are_for_kwargs():
    """key=value is a pair in kwargs, and a text elsewhere or in quotes."""
    assert read("kwargs:order=6987").values == (Pair("order", Pattern(("6987",))),)
    assert read("args:order=6987").values == (Pattern(("order=6987",)),)
    assert read('kwargs:"order=6987"').values == (Pattern(("order=6987",)),)


def test_wildcards_in_quotes_are_literal():
    """`*` and `?` mean something only outside quotes."""
    assert read("name:a*b?").values == (Pattern(("a", "b", ""), "*?"),)
    assert read('exc:"a*"*').values == (Pattern(("a*", ""), "*"),)


_text = st.text(min_size=1, max_size=12).filter(lambda text: text.isprintable())
_quoted = _text.map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
_bare = st.text(string.ascii_letters + string.digits + "_./@'+%!-,=*?:>", min_size=1, max_size=8)
_fields = st.tuples(st.sampled_from([*FIELDS]), st.one_of(_bare, _quoted)).map(":".join)
_flags = st.sampled_from([f"{field}:{word}" for field, known in FLAGS.items() for word in known])
_intervals = st.sampled_from(
    ["runtime:>2s", "wait:1m30s..", "retries:1,3..5", "sent:tue", "finished:-2h..-1h", "first:2026-11", "pid:<=7"]
)
_terms = st.one_of(_bare, _quoted, _fields, _flags, _intervals, st.just(UUID), st.just("state:FAILURE,sent"))
_searches = st.recursive(
    _terms,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(" ".join),
        st.tuples(inner, st.sampled_from(["AND", "OR", "NOT", ""]), inner).map(" ".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"-({text})"),
        inner.map(lambda text: f"-{text}"),
    ),
    max_leaves=12,
)


@given(_searches)
@example('NOT +x -"\\"')
@example('name:"a"b* kwargs:"="=x')
def test_canonical_text_means_the_same(text):
    """The text of an expression reads as an equal expression, and is its own canonical form."""
    try:
        expression = read(text)
    except QueryError:
        return

    assert read(str(expression)) == expression
    assert str(read(str(expression))) == str(expression)


@given(st.one_of(st.text(max_size=80), st.text('()"-:,*?=<>.\\ aANDORT1ſµs\n', max_size=60), _searches))
@example("runtime:1ſ")
@example("sent:٣٣٣٣-٠١-٠١")
@example("sent:2199-12-31 sent:1900-01 sent:-36500d")
def test_no_text_is_too_hostile(text):
    """Whatever is typed, it is read, or refused with a QueryError whose place lies in the text."""
    error = None
    try:
        read(text, "Europe/Berlin")
    except QueryError as caught:
        error = caught

    assert error is None or (0 <= error.position <= len(text) and str(error))
