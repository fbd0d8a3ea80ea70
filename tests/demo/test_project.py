"""The demo's project: its tasks, its schedule, and the events that its worker sends through memory."""

import json
import os
import random
import subprocess
import sys
import traceback
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from celery.beat import SchedulingError

from taskledger.demo import crew, load, project, shop


@pytest.fixture
def scheduler() -> Iterator[Any]:
    """The scheduler of the demo's beat, which is not running."""
    before = project.app.conf.beat_schedule
    project.app.finalize()
    yield crew.make_beat(project.app).service.scheduler
    project.app.conf.beat_schedule = before


def test_every_kind_of_event_arrives_at_a_plain_consumer(tmp_path: Path) -> None:
    """Each fate of a task is heard on the in-memory transport, none is lost, and no thread is left at the end."""
    collect = Path(__file__).with_name("collect.py")
    ran = subprocess.run(
        [sys.executable, collect, tmp_path / "celery.log"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    heard = json.loads(ran.stdout)
    assert heard["missing"] == []
    assert heard["received"] == heard["sent"] > 0
    assert heard["threads"] == ["MainThread"]


def test_beat_cannot_send_the_cleanup(scheduler: Any) -> None:
    """Celery refuses the entry whose arguments do not fit, in beat, before anything is published."""
    entry = scheduler.schedule["daily-cleanup"]

    with pytest.raises(SchedulingError, match=r"daily_cleanup\(\) takes 0 positional arguments but 1 was given"):
        scheduler.apply_async(entry, advance=False)


def test_beat_lacks_what_was_deployed_after_its_start(scheduler: Any) -> None:
    """The configuration promises an entry that this beat never loads."""
    promised = set(project.app.conf.beat_schedule)

    assert promised - set(scheduler.schedule) == set(project.DEPLOYED_LATER)


def test_what_is_deployed_later_could_be_sent() -> None:
    """Nothing but the missing restart keeps these entries from firing."""
    for entry in project.DEPLOYED_LATER.values():
        assert entry["task"] in project.app.tasks


def test_first_round_has_every_move() -> None:
    """A newcomer sees all there is within the first round; later rounds bring the same in another order."""
    moves = list(islice(load.moves(random.Random(1)), 2 * len(load.ROUND)))
    first, second = moves[: len(load.ROUND)], moves[len(load.ROUND) :]

    assert first == list(load.ROUND)
    assert second != first
    assert sorted(map(repr, second)) == sorted(map(repr, first))


def test_declined_card_fails_deep_in_the_application() -> None:
    """The traceback of a declined card has several frames of the application, the innermost in the gateway."""
    customer = min(shop.DECLINED)

    with pytest.raises(shop.CardDeclined) as declined:
        project.charge({"order": "A-1", "customer": customer, "amount": "10.00"})

    functions = [frame.name for frame in traceback.extract_tb(declined.value.__traceback__)]
    assert functions[-4:] == ["charge", "capture", "_authorise", "_check_funds"]


def test_greylisted_mail_is_taken_at_the_third_attempt() -> None:
    """The mail server lets two attempts wait and takes the third."""
    customer = min(shop.GREYLISTED)

    for attempt in (0, 1):
        with pytest.raises(shop.MailServerBusy):
            shop.deliver(customer, "newsletter", attempt)
    assert shop.deliver(customer, "newsletter", 2)
