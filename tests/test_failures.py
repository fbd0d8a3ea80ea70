"""Grouping failures: what is the same stays the same, and what differs is kept apart."""

import pytest
from stories import TRACEBACK

from taskledger.failures import describe, fingerprint


def test_the_last_line_of_the_traceback_names_the_failure():
    """Class, message and innermost application frame come from the traceback."""
    failure = describe("ValueError('invalid card for customer 7215')", TRACEBACK)

    assert (failure.cls, failure.message) == ("ValueError", "invalid card for customer 7215")
    assert (failure.title, failure.frame) == ("ValueError: invalid card for customer *", "proj.py:35 in charge")


def test_a_killed_child_shows_its_real_class():
    """Celery's empty ExceptionWithTraceback() is replaced by the class in the traceback's last line."""
    trace = (
        'Traceback (most recent call last):\n  File "/v/site-packages/billiard/pool.py", line 1, in mark\n    raise\n'
    )
    failure = describe(
        "ExceptionWithTraceback()",
        trace + "billiard.exceptions.WorkerLostError: Worker exited prematurely: signal 9 (SIGKILL) Job: 3.\n",
    )

    assert (failure.cls, failure.frame) == ("WorkerLostError", None)
    assert failure.title == "WorkerLostError: Worker exited prematurely: signal * (SIGKILL) Job: *."


def test_a_retry_tells_what_went_wrong():
    """For a retried run the error is the one that made it retry, not Celery's Retry at the end of the traceback."""
    chain = "\nDuring handling of the above exception, another exception occurred:\n\n"
    retry = (
        'Traceback (most recent call last):\n  File "/srv/app/proj.py", line 40, in charge\n    raise self.retry()\n'
    )
    end = "celery.exceptions.Retry: Retry in 2s: ValueError('invalid card for customer 7215')\n"
    exception = "Retry(Retry(...), ValueError('invalid card for customer 7215'), 2)"
    failure = describe(exception, TRACEBACK + chain + retry + end)

    assert (failure.text, failure.frame) == ("ValueError: invalid card for customer 7215", "proj.py:35 in charge")


@pytest.mark.parametrize(
    ("exception", "text"),
    [
        ("KeyError('template')", "KeyError: template"),
        ("proj.errors.Declined(\"no 'funds'\")", "Declined: no 'funds'"),
        ("Timeout()", "Timeout"),
        ("something odd", "Error: something odd"),
        ("", "Error"),
        (None, "Error"),
    ],
)
def test_without_a_traceback_the_repr_is_read(exception, text):
    """A repr alone gives class and message; what cannot be read stands as it is."""
    assert describe(exception, None).text == text


def test_an_installed_application_has_frames_too():
    """Where the application itself lies in site-packages, the innermost frame that is not Celery's is shown."""
    installed = TRACEBACK.replace("/srv/app/", "/venv/lib/python3.11/site-packages/shop/")

    assert describe(None, installed).frame == "proj.py:35 in charge"


def test_a_message_of_several_lines_is_kept():
    """The lines after the class belong to the message."""
    trace = 'Traceback (most recent call last):\n  File "/srv/app/db.py", line 3, in run\n    go()\n'
    trace += 'ProgrammingError: near "x"\nLINE 1: select x\n'

    assert describe(None, trace).message == 'near "x"\nLINE 1: select x'


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Timeout('after 30s on 10.0.0.1')", "Timeout('after 31s on 10.0.0.2')"),
        (
            "E('order 0b1c9d2e-0000-4000-8000-000000000001 gone')",
            "E('order 7b1c9d2e-0000-4000-8000-000000000001 gone')",
        ),
        ("E('no /srv/a/b.csv')", "E('no /srv/c/d.csv')"),
    ],
)
def test_what_varies_does_not_split_a_group(one, other):
    """Numbers, ids and paths in the message make no new group."""
    assert fingerprint("t", describe(one, None)) == fingerprint("t", describe(other, None))


@pytest.mark.parametrize(
    ("traceback", "title"),
    [
        ("KeyError: 'template'\n", "KeyError: 'template'"),
        ("KeyError: 'order-4711'\n", "KeyError: *"),
        (
            "AttributeError: 'NoneType' object has no attribute 'id'\n",
            "AttributeError: 'NoneType' object has no attribute 'id'",
        ),
        ("ValueError: no 'funds'\n", "ValueError: no *"),
        ("celery.exceptions.Retry: Retry at 2026-11-22 08:00:00+00:00: OSError('no')\n", "OSError: no"),
        ("celery.exceptions.Retry: Retry in 2s\n", "Error"),
    ],
)
def test_names_that_python_quotes_stay_in_the_title(traceback, title):
    """The missing key or attribute is what went wrong; other quoted values vary."""
    assert describe(None, traceback).title == title


def test_task_class_and_frame_split_groups():
    """Another task, another class or another function is another group; another line of the same function is not."""
    failure = describe(None, TRACEBACK)
    keys = {
        fingerprint("a", failure),
        fingerprint("b", failure),
        fingerprint("a", describe(None, TRACEBACK.replace("ValueError", "KeyError"))),
        fingerprint("a", describe(None, TRACEBACK.replace("in charge", "in refund"))),
    }

    assert len(keys) == 4
    assert fingerprint("a", describe(None, TRACEBACK.replace("line 35", "line 36"))) in keys
