"""The scenes of the campaign `beats`: what is done to a crew while its beat has entries to send."""

import time
from collections.abc import Callable
from typing import Any

from benchmarks.campaigns import stage
from benchmarks.campaigns._beat_crew import START_S, Crew, Span

#: seconds that a broker is away
AWAY_S = 10.0
MINUTE_S = 60.0


def entry(every: float | None, *args: str, task: str = "play.work", enabled: bool = True) -> dict[str, Any]:
    return {"task": task, "every": every, "args": list(args), "enabled": enabled}


#: the entries of a play; two of them cannot be told from one another without the probe
ENTRIES = {
    "often": entry(4, "often"),
    "minutely": entry(None, "minutely"),
    "wrong": entry(5, "wrong", task="play.nothing"),
    "changing": entry(4, "changing"),
    "switched": entry(4, "switched"),
    "twin-a": entry(6, "twin"),
    "twin-b": entry(6, "twin"),
}
BRIEF = ("often", "wrong")


def quiet(crew: Crew) -> None:
    """Nothing happens but what should; the entry whose arguments do not fit its task is there all the time."""
    crew.rest(20)


def quiet_briefly(crew: Crew) -> None:
    crew.rest(7)


def edited(crew: Crew) -> None:
    """An entry gets another interval, and another one is switched off."""
    crew.put({"changing": entry(6, "changing"), "switched": entry(4, "switched", enabled=False)})
    crew.rest(28)


def killed(crew: Crew) -> None:
    """Beat is killed, and away across the due times of all its entries, a whole minute's too."""
    _rest_until_second(crew, 50)
    _down(crew, 75)
    crew.rest(18)


def killed_briefly(crew: Crew) -> None:
    crew.rest(4)
    _down(crew, 9)
    crew.rest(6)


def two_beats(crew: Crew) -> None:
    """A second beat with the same schedule, for a minute's change; RedBeat's lock keeps it waiting."""
    _rest_until_second(crew, 46)
    crew.start_beat("second")
    _rest_until_second(crew, 8)
    crew.stop_beat("second")
    crew.rest(10)


def outage(crew: Crew) -> None:
    """Beat's broker is away; the recorder and the worker, who have another way to it, go on."""
    crew.proxy.refuse(True)
    crew.rest(AWAY_S)
    crew.proxy.refuse(False)
    crew.rest(24)


def unheard(crew: Crew) -> None:
    """The recorder is stopped across due times."""
    from_s = time.time()
    crew.stop_listening()
    crew.rest(13)
    crew.listen()
    crew.unheard.append((from_s, time.time()))
    crew.rest(16)


SCENES: dict[str, Callable[[Crew], None]] = {
    "quiet": quiet,
    "edited": edited,
    "killed": killed,
    "two-beats": two_beats,
    "outage": outage,
    "unheard": unheard,
}

#: the short forms of some
BRIEF_SCENES: dict[str, Callable[[Crew], None]] = {"quiet": quiet_briefly, "killed": killed_briefly}


def play(crew: Crew, name: str, scene: Callable[[Crew], None]) -> None:
    from_s = time.time()
    scene(crew)
    crew.spans.append(Span(name, from_s, time.time()))
    crew.look()


def _down(crew: Crew, seconds: float) -> None:
    from_s = time.time()
    crew.kill_beat()
    time.sleep(seconds)
    crew.look()
    number = len(crew.attempts())
    crew.start_beat()
    stage.until(lambda: len(crew.attempts()) > number, "beat to send again", START_S)
    crew.downs.append((from_s, time.time()))


def _rest_until_second(crew: Crew, second: float) -> None:
    crew.rest((second - time.time()) % MINUTE_S)
