"""The program beside the launcher: tells CloudWatch how the host is, and copies its logs there.

It has no part in serving. Where AWS does not answer or refuses, it says so once, waits longer each time, and
goes on.
"""

import shutil
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from matinee_host.cloud import Reports
from matinee_host.journal import STREAMS, Shipper
from matinee_host.model import Config, LaunchError, log

FIGURES_EVERY = 60  # seconds
LINES_EVERY = 10
LONGEST_WAIT = 300  # between two tries while AWS does not take it
HEALTH_TIMEOUT = 10


class Job:
    """Something that is done again and again, and more seldom while it fails.

    Args:
        name: What it is called in the log.
        every: Seconds between two times.
        work: What is done.
    """

    def __init__(self, name: str, every: float, work: Callable[[], None]) -> None:
        self.name = name
        self.every = every
        self.work = work
        self.wait = every
        self.due = time.monotonic()
        self.problem = ""

    def run(self) -> None:
        """Do it once; a failure is no more than a line in the log."""
        try:
            self.work()
            problem = ""
        except (LaunchError, OSError, ValueError) as error:
            problem = str(error)
        if problem and not self.problem:
            log.warning("%s: %s It is tried again.", self.name, problem)
        if self.problem and not problem:
            log.info("%s: it works again.", self.name)
        self.problem = problem
        self.wait = min(2 * self.wait, LONGEST_WAIT) if problem else self.every
        self.due = max(self.due + self.wait, time.monotonic())  # however long it took


def watch(config: Config) -> NoReturn:
    """Do what is wanted, until systemd ends it."""
    reports = Reports(config.region)
    jobs = []
    if config.metrics_namespace:
        jobs.append(
            Job(
                "figures",
                FIGURES_EVERY,
                lambda: reports.put_figures(config.metrics_namespace, figures(config)),
            )
        )
    if config.log_group:
        directory = Path(config.watch_directory)
        jobs += [
            Job(
                f"lines of {stream}",
                LINES_EVERY,
                Shipper(reports, config.log_group, stream, directory).ship,
            )
            for stream in STREAMS
        ]
    while True:
        job = min(jobs, key=lambda job: job.due)
        time.sleep(max(0.0, job.due - time.monotonic()))
        job.run()


def figures(config: Config) -> dict[str, tuple[float, str]]:
    """How the host is: each figure with CloudWatch's unit."""
    disk = shutil.disk_usage("/")
    return {
        "DiskUsed": (100 * disk.used / (disk.used + disk.free), "Percent"),
        "MemoryUsed": (memory_used(), "Percent"),
        "AppHealthy": (float(is_healthy(config)), "None"),
    }


def memory_used() -> float:
    """Percent of the memory that no program could have any more."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return 100 * (1 - kilobytes["MemAvailable"] / kilobytes["MemTotal"])


def is_healthy(config: Config) -> bool:
    """Whether visitors get a good answer of the app's health path."""
    try:
        url = f"http://{config.proxy_front}{config.health_path}"
        with urllib.request.urlopen(url, timeout=HEALTH_TIMEOUT) as answer:
            return bool(200 <= answer.status < 300)
    except OSError:  # nobody answers, or with an error
        return False
