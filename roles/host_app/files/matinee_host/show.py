"""When the machine stops by itself: after some hours, or when nobody has watched for a while."""

import dataclasses
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from matinee_host.model import Config, replace_file

LATELY = 60  # seconds for which a visitor who has left still counts


def uptime() -> float:
    """Seconds since the machine booted; a wrong clock does not change it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclasses.dataclass
class Show:
    """What was agreed on for this show; the next boot starts anew.

    Attributes:
        ends: Uptime at which the machine is to stop; None for no limit.
        idle_minutes: Minutes without a visitor after which it is to stop; 0 for no limit.
        even_if_watched: Whether `ends` holds with a visitor there, too.
        watched: Uptime at which a visitor was last seen.
    """

    ends: float | None
    idle_minutes: float
    even_if_watched: bool
    watched: float = dataclasses.field(default_factory=uptime)

    @classmethod
    def load(cls, config: Config) -> "Show":
        """What was agreed on since the machine booted, or what is configured."""
        try:
            return cls(**json.loads(config.show_file.read_text()))
        except (OSError, ValueError, TypeError):
            return cls(None, config.idle_minutes, even_if_watched=False)

    def save(self, config: Config) -> None:
        """Remember it until the next boot."""
        values = dataclasses.asdict(self)
        values.pop("watched")  # after a restart of the launcher, everybody has just been here
        replace_file(config.show_file, json.dumps(values))

    def changed(
        self, hours: float | None, idle_minutes: float | None, even_if_watched: bool | None
    ) -> "Show":
        """What is agreed on from now; None leaves a part as it is."""
        return dataclasses.replace(
            self,
            ends=self.ends if hours is None else uptime() + hours * 3600,
            idle_minutes=self.idle_minutes if idle_minutes is None else idle_minutes,
            even_if_watched=self.even_if_watched if even_if_watched is None else even_if_watched,
        )

    def seen(self) -> None:
        """Somebody is here now."""
        self.watched = uptime()

    def is_over(self) -> bool:
        """Whether the machine is to stop."""
        alone = uptime() - self.watched
        if self.ends is not None and uptime() >= self.ends and (self.even_if_watched or alone >= LATELY):
            return True
        return self.idle_minutes > 0 and alone >= max(self.idle_minutes * 60, LATELY)

    def reason(self) -> str:
        """Why it is over, as a sentence."""
        if self.ends is not None and uptime() >= self.ends:
            return "The machine stops: the time of the show is over."
        return f"The machine stops: nobody has been here for {self.idle_minutes:g} minutes."

    def described(self) -> dict[str, Any]:
        """It, for people and programs."""
        left = None if self.ends is None else timedelta(seconds=self.ends - uptime())
        return {
            "stops_at": None if left is None else (datetime.now(UTC) + left).isoformat(timespec="seconds"),
            "idle_minutes": self.idle_minutes,
            "even_if_watched": self.even_if_watched,
        }
