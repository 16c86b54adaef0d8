"""From off to on: until visitors see the holding page, and until the app answers them."""

import contextlib
import http.client
import statistics
import subprocess
import time
from collections.abc import Callable
from http import HTTPStatus

from bench.pipeline import change_a_line
from bench.stage import Row, Stage, wait_for

ROUNDS = 3
BARE_PORT = 8600
# What one would write in the place of the launcher
BARE_UNIT = """
[Unit]
Wants=network-online.target docker.service
After=network-online.target docker.service
[Service]
ExecStart=docker run --rm --name bare --publish {port}:8501 {image}
[Install]
WantedBy=multi-user.target
"""


def measure(stage: Stage) -> list[Row]:
    """Start the app on a machine that is up and with the machine, by turns with docker run; then a show."""
    stage.checkout.passes("push.yml")
    stage.checkout.passes("demo-start.yml")
    unit = BARE_UNIT.format(port=BARE_PORT, image=stage.launcher("status")["image"])
    stage.on_host("sh", "-c", 'echo "$1" >/etc/systemd/system/bare.service', "sh", unit)
    stage.on_host("systemctl", "daemon-reload")
    rows: list[Row] = []
    for when, start in (("on a machine that is up", by_hand), ("at boot", at_boot)):
        docker: list[float] = []
        launcher: list[float] = []
        for _ in range(ROUNDS):
            docker.append(start(stage, "bare", BARE_PORT))
            launcher.append(start(stage, "matinee-app", 80))
        bare, ours = statistics.median(docker), statistics.median(launcher)
        rows += [
            (
                f"start of the app {when}: docker run to 200",
                f"{bare:.2f} s",
                f"median of {ROUNDS}, image cached",
            ),
            (
                f"start of the app {when}: launcher to 200 through nginx",
                f"{ours:.2f} s",
                f"{ours / bare:.2f} ×, counted from the start of the unit",
            ),
        ]
    rows += show(stage, "nothing new", lambda: None)
    rows += show(stage, "one line pushed meanwhile", lambda: push_a_line(stage))
    return rows


def by_hand(stage: Stage, unit: str, port: int) -> float:
    """Start one unit, the others being off; returns the seconds until the app answers."""
    stage.on_host("systemctl", "stop", "matinee-app", "bare")
    stage.on_host("systemctl", "start", "--no-block", unit)
    return until_answered(stage, unit, port)


def at_boot(stage: Stage, unit: str, port: int) -> float:
    """Start the machine with one unit; returns the seconds from the unit's start until the app answers."""
    stage.on_host("systemctl", "disable", "matinee-app", "bare")
    stage.on_host("systemctl", "enable", unit)
    switch_off(stage)
    stage.rehearsal.boto("ec2").start_instances(InstanceIds=[stage.machine["InstanceId"]])
    return until_answered(stage, unit, port)


def until_answered(stage: Stage, unit: str, port: int) -> float:
    """Wait for the first 200; returns the seconds from the start of a unit to then."""
    answered = first_answers(stage.address, port)[HTTPStatus.OK]
    begun = ["systemctl", "show", "--value", "--property", "ExecMainStartTimestampMonotonic", unit]
    return answered - int(stage.on_host(*begun)) / 1e6


def show(stage: Stage, name: str, meanwhile: Callable[[], None]) -> list[Row]:
    """Start the show with the machine off."""
    switch_off(stage)
    meanwhile()
    begun = time.monotonic()
    play = subprocess.Popen(
        ["ansible-playbook", "demo-start.yml"],
        cwd=stage.checkout.path,
        env=stage.checkout.environment,
        stdout=subprocess.DEVNULL,
    )
    first = first_answers(stage.address, 80)
    if play.wait():
        raise SystemExit("demo-start.yml failed")
    end = time.monotonic() - begun
    holding, answer = (
        f"{first[status] - begun:.1f} s" if status in first else "never"
        for status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.OK)
    )
    return [
        (f"demo-start.yml to the first holding page, {name}", holding, ""),
        (f"demo-start.yml to the app's first answer, {name}", answer, f"to its own end {end:.1f} s"),
    ]


def push_a_line(stage: Stage) -> None:
    """Push one more line of code."""
    change_a_line(stage)
    stage.checkout.passes("push.yml")


def switch_off(stage: Stage) -> None:
    """Stop the machine, and wait until it is off."""
    stage.rehearsal.boto("ec2").stop_instances(InstanceIds=[stage.machine["InstanceId"]])
    wait_for(lambda: stage.machine["State"]["Name"] == "stopped")


def first_answers(address: str, port: int) -> dict[int, float]:
    """Ask a host twenty times a second until it answers 200; returns when each status came first."""
    first: dict[int, float] = {}

    def ask() -> bool:
        connection = http.client.HTTPConnection(address, port, timeout=0.2)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", "/health")
            first.setdefault(connection.getresponse().status, time.monotonic())
        return HTTPStatus.OK in first

    wait_for(ask, pause=0.05)
    return first
