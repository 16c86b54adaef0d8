"""When the machine stops by itself."""

import dataclasses
import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest
from matinee_host import show
from matinee_host.model import Config
from matinee_host.show import Show, uptime

MINUTE, HOUR = 60, 3600


def agreed(
    ends_in: float | None = None, idle_minutes: float = 0, even: bool = False, alone: float = 0
) -> Show:
    """A show that ends so many seconds from now, whose last visitor left so many seconds ago."""
    now = uptime()
    return Show(None if ends_in is None else now + ends_in, idle_minutes, even, watched=now - alone)


@pytest.mark.parametrize(
    ("agreement", "watched", "over"),
    [
        ({}, False, False),
        ({"alone": 1000 * HOUR}, False, False),
        ({"ends_in": HOUR, "alone": 1000 * HOUR}, False, False),
        ({"ends_in": -1, "alone": HOUR}, False, True),
        ({"ends_in": -1, "alone": HOUR}, True, False),
        ({"ends_in": -1, "alone": 20}, False, False),  # reloading the page, perhaps
        ({"ends_in": -1, "even": True, "alone": 20}, False, True),
        ({"ends_in": -1, "even": True}, True, True),
        ({"idle_minutes": 30, "alone": 29 * MINUTE}, False, False),
        ({"idle_minutes": 30, "alone": 31 * MINUTE}, False, True),
        ({"idle_minutes": 30, "alone": 31 * MINUTE}, True, False),
        ({"idle_minutes": 0.5, "alone": 40}, False, False),
        ({"idle_minutes": 0.5, "alone": 70}, False, True),
        ({"ends_in": HOUR, "idle_minutes": 30, "alone": 31 * MINUTE}, False, True),
    ],
)
def test_the_show_is_over_when_its_time_is_or_when_nobody_has_watched(
    agreement: dict[str, Any], watched: bool, over: bool
) -> None:
    shown = agreed(**agreement)
    if watched:
        shown.seen()
    assert shown.is_over() is over


def test_a_visitor_makes_it_last() -> None:
    agreement = agreed(ends_in=-1, idle_minutes=30, alone=HOUR)
    assert agreement.is_over()
    agreement.seen()
    assert not agreement.is_over()


def test_what_is_said_is_why() -> None:
    assert "the time of the show is over" in agreed(ends_in=-1, idle_minutes=30).reason()
    assert "nobody has been here for 30 minutes" in agreed(ends_in=HOUR, idle_minutes=30).reason()


def test_a_command_extends_and_changes_what_it_names(config: Config) -> None:
    agreement = Show.load(dataclasses.replace(config, idle_minutes=45))
    assert (agreement.ends, agreement.idle_minutes, agreement.even_if_watched) == (None, 45, False)
    hour = agreement.changed(1, None, None)
    two = hour.changed(2, None, None)
    assert hour.ends
    assert two.ends
    assert HOUR <= two.ends - hour.ends < 2 * HOUR
    assert two.idle_minutes == 45
    changed = two.changed(None, 0, True)
    assert (changed.ends, changed.idle_minutes, changed.even_if_watched) == (two.ends, 0, True)


def test_it_is_remembered_until_the_next_boot(config: Config) -> None:
    agreement = agreed(ends_in=HOUR, idle_minutes=30, even=True, alone=HOUR)
    agreement.save(config)
    loaded = Show.load(config)
    assert dataclasses.replace(loaded, watched=agreement.watched) == agreement
    assert not loaded.is_over()  # who watched while the launcher started anew is not known
    config.show_file.write_text("{")
    assert Show.load(config).ends is None


def test_what_people_read_follows_the_clock_on_the_wall() -> None:
    stops_at = datetime.fromisoformat(agreed(ends_in=HOUR).described()["stops_at"])
    assert timedelta(minutes=59) < stops_at - datetime.now(UTC) <= timedelta(hours=1)
    assert agreed().described() == {"stops_at": None, "idle_minutes": 0, "even_if_watched": False}


@pytest.mark.parametrize("wrong_by", [timedelta(days=-400), timedelta(days=400)])
def test_a_wrong_clock_on_the_wall_changes_nothing(
    wrong_by: timedelta, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreement = agreed(ends_in=HOUR, idle_minutes=30)
    agreement.save(config)
    wrong = datetime.now(UTC) + wrong_by

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return wrong

    monkeypatch.setattr(show, "datetime", Clock)
    monkeypatch.setattr(time, "time", wrong.timestamp)
    assert not agreement.is_over()
    assert not Show.load(config).is_over()
    assert agreed(ends_in=-1, alone=HOUR).is_over()
    stops_at = datetime.fromisoformat(agreement.described()["stops_at"])
    assert stops_at - wrong <= timedelta(hours=1)
