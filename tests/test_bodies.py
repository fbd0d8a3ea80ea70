"""Stored bodies: smaller than they were, and the same when read back."""

import hashlib
import json
import threading
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stories import failed

from taskledger.bodies import PLAIN, ZSTD, pack, unpack, unpack_all
from taskledger.errors import EventDamaged, LedgerError


@given(st.binary(max_size=2000))
def test_any_body_is_read_back_as_it_was(body):
    """Packing and unpacking are each other's inverse for any bytes, and a body never grows."""
    codec, data = pack(body)

    assert unpack(codec, data) == body
    assert len(data) <= len(body)


@given(st.lists(st.binary(max_size=200) | st.just(json.dumps(failed()[0]).encode()), max_size=30))
def test_many_at_once(bodies):
    """Unpacked together they are what each is alone."""
    assert unpack_all([pack(body) for body in bodies]) == bodies


def test_one_damaged_among_many():
    """It is said, as it is for one alone."""
    packed = [pack(json.dumps(event).encode()) for event in failed() * 4]
    with pytest.raises(EventDamaged, match="damaged"):
        unpack_all([*packed, (ZSTD, b"nothing")])


def test_a_usual_event_shrinks_to_a_third():
    """The dictionary knows how Celery spells its events."""
    bodies = [json.dumps(event, sort_keys=True, separators=(",", ":")).encode() for event in failed()]

    assert sum(len(pack(body)[1]) for body in bodies) < sum(map(len, bodies)) / 3


def test_the_dictionary_is_the_one_that_ledgers_were_written_with():
    """Bodies of codec 1 can only be read with this very file: it must never change."""
    file = resources.files("taskledger").joinpath("events.zstd-dict")

    assert (
        hashlib.sha256(file.read_bytes()).hexdigest()
        == "b8601c89bc7db85ce177426359520d7a944d739bc9ad25a59b8eef2f08cdc478"
    )


def test_plain_bodies_are_read_too():
    """A body that compression would not shrink is stored as it is."""
    assert pack(b"{}") == (PLAIN, b"{}")


@pytest.mark.parametrize(("codec", "data"), [(99, b"x"), (ZSTD, b"no zstd"), (ZSTD, b"")])
def test_what_cannot_be_read_says_why(codec, data):
    """A codec of a newer program and damaged bytes raise LedgerError."""
    with pytest.raises(LedgerError):
        unpack(codec, data)


def test_threads_have_compressors_of_their_own():
    """Many threads may pack at once."""
    bodies = [f'{{"args":"({n},)","name":"billing.charge","type":"task-received"}}'.encode() * 20 for n in range(400)]
    right = []

    def work():
        right.extend(unpack(*pack(body)) == body for body in bodies)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert right == [True] * 1600
