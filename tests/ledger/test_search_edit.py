"""Searches after clicks on facets, and places in lists."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskledger.errors import QueryError
from taskledger.ledger.answers import Cursor
from taskledger.ledger.search import cursor_from, cursor_text, edited, parse


def read(text):
    return parse(text, now_at=0, zone=ZoneInfo("UTC"))


@pytest.mark.parametrize(
    ("text", "field", "value", "expected"),
    [
        ("", "state", "failed", "state:failed"),
        ("state:failed", "state", "retry", "state:failed,retrying"),
        ("state:FAILURE timeout", "state", "failed", "timeout"),
        ("state:failed,retry timeout", "state", "failed", "state:retrying timeout"),
        ("timeout", "name", "billing.charge", "timeout name:billing.charge"),
        ("timeout", "name", "two words", 'timeout name:"two words"'),
        ("timeout", "name", "a*b", 'timeout name:"a*b"'),
        ("name:billing.*", "name", "billing.charge", "name:billing.* name:billing.charge"),
        ('name:"two words",b', "name", "TWO WORDS", "name:b"),
        ("a OR b", "state", "failed", "(a OR b) state:failed"),
        ("(a OR state:failed)", "state", "failed", "(a OR state:failed) state:failed"),
        ("a AND state:failed AND b", "state", "failed", "a b"),
        ("-state:failed", "state", "failed", "state:failed"),
        ("task:a", "name", "b", "name:a,b"),
        ("exc:timeout", "exc", "refused", "exc:timeout exc:refused"),
        ("exc:timeout", "exc", "timeout", ""),
        ("-queue:mail", "queue", "sms", "-queue:mail queue:sms"),
    ],
)
def test_a_click_includes_or_takes_out(text, field, value, expected):
    """A click adds the value, joins it to the list of its field, or takes it out when it is there."""
    assert edited(text, field, value) == expected
    assert str(read(expected)) == expected if expected else read(expected) is None


@pytest.mark.parametrize(
    ("text", "field", "value", "expected"),
    [
        ("", "queue", "mail", "-queue:mail"),
        ("-queue:mail", "queue", "sms", "-queue:mail,sms"),
        ("x -queue:mail,sms", "queue", "mail", "x -queue:sms"),
        ("NOT queue:mail x", "queue", "mail", "x"),
        ("queue:mail", "queue", "mail", "-queue:mail"),
        ("queue:mail,sms", "queue", "mail", "queue:sms"),
        ("queue:mail", "queue", "sms", "queue:mail -queue:sms"),
        ("-(queue:mail)", "queue", "mail", "-(queue:mail) -queue:mail"),
        ("a OR b", "name", "two words", '(a OR b) -name:"two words"'),
    ],
)
def test_a_click_excludes_or_takes_that_back(text, field, value, expected):
    """Excluding adds the opposite, joins it to what is excluded already, or takes it back when it is there."""
    assert edited(text, field, value, exclude=True) == expected


@given(
    st.sampled_from(["", "timeout", "a OR b", '"two words" -x', "state:failed", "name:a,b", "-name:c queue:q"]),
    st.sampled_from(["name", "queue", "worker"]),
    st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()),
    st.booleans(),
)
def test_two_clicks_are_none(text, field, value, exclude):
    """A click on a value that nothing mentions changes the search, and a second one takes the change back."""
    once = edited(text, field, value, exclude=exclude)
    if value.lower() in ("a", "b", "c", "q"):
        return
    twice = edited(once, field, value, exclude=exclude)

    assert read(once) != read(text)
    assert read(twice) == read(text)


def test_a_search_that_cannot_be_read_cannot_be_edited():
    """Editing a bad search is refused as reading it is."""
    with pytest.raises(QueryError):
        edited('"open', "state", "failed")


@given(st.integers(-(2**63) + 1, 2**63 - 1), st.text(max_size=300), st.text(max_size=30))
def test_a_cursor_comes_back_from_its_text(first_at, task_id, cluster):
    """A cursor's text is safe in an address and reads as the same cursor."""
    cursor = Cursor(first_at, task_id, cluster)
    text = cursor_text(cursor)

    assert cursor_from(text) == cursor
    assert text.replace("-", "").replace("_", "").isalnum()


def test_a_cursor_can_hold_an_id_that_is_no_text():
    """Ids with lone surrogates, which some client sent, have cursors too."""
    cursor = Cursor(1, "a\udc80", "default")

    assert cursor_from(cursor_text(cursor)) == cursor


@pytest.mark.parametrize(
    "text",
    [
        "",
        "!",
        "é",
        "AAAA",
        "W10",
        "bnVsbA",
        "MQ",
        "WzEsMiwzXQ",
        "W3RydWUsImEiLCJiIl0",
        "WzFlOTksImEiLCJiIl0",
        "Wzk5OTk5OTk5OTk5OTk5OTk5OTk5LCJhIiwiYiJd",
        "W1tb" * 4000,
        "A" * 20_000,
    ],
)
def test_a_made_up_cursor_is_refused(text):
    """Text that no cursor ever had is a QueryError."""
    with pytest.raises(QueryError, match="take it out of the address"):
        cursor_from(text)


@given(st.text(max_size=60))
def test_no_cursor_is_too_hostile(text):
    """Whatever stands in the address, reading it ends in a cursor or a QueryError."""
    found = None
    try:
        found = cursor_from(text)
    except QueryError:
        return

    assert cursor_from(cursor_text(found)) == found
