"""What goes wrong: in the middle of a swap, in a version, in AWS, in the machine, among people.

The first line of each test's documentation is its line in the report.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests import local_aws
from tests.faults.host import DRAIN, HEALTH_TIMEOUT, PARAMETERS, VERSION_LABEL, Host, Registry
from tests.faults.visitor import Visitor
from tests.local_aws import Rehearsal

MEGABYTES = 8
SIZE = MEGABYTES * 2**20

# Swaps

STEPS = {
    "before pulling": "pull",
    "before starting it": "start_container",
    "while checking it": "wait_healthy",
    "before leading visitors to it": "Proxy.lead_to",
    "when visitors are led to it, before it has its name": "Stage._name",
    "before stopping the old one": "Stage._remove",
}


@pytest.mark.parametrize("step", STEPS)
def test_the_launcher_is_killed(step: str, host: Host, registry: Registry, visitor: Visitor) -> None:
    """Launcher killed {step}."""
    newest = registry.push()
    host.break_at("kill", STEPS[step])
    host.ask("release")
    host.wait_broken()
    host.is_back()
    visitor.sees(newest)
    assert not visitor.refused


def test_the_launcher_is_killed_while_looking(host: Host, registry: Registry, visitor: Visitor) -> None:
    """Launcher killed while asking for the newest version; who asked for it asks again."""
    newest = registry.push()
    host.break_at("kill", "Cloud.digest_of")
    code, said = host.ask("release")
    assert code == 1
    assert "then repeat" in said
    host.is_back()
    host.does("release")
    visitor.sees(newest)
    assert not visitor.refused


def test_the_launcher_is_killed_while_removing_old_images(
    host: Host, registry: Registry, good: str, visitor: Visitor
) -> None:
    """Launcher killed before removing old images, after a rollback."""
    registry.push()
    host.does("release")
    host.break_at("kill", "prune")
    host.does("rollback")
    host.wait_broken()
    host.is_back()
    visitor.sees(good)
    assert not visitor.refused


@pytest.mark.parametrize("step", STEPS)
def test_the_power_goes(step: str, host: Host, registry: Registry, visitor: Visitor) -> None:
    """Power lost {step}."""
    newest = registry.push()
    host.break_at("hang", STEPS[step])
    with host.start("release"):
        host.wait_broken()
        host.pull_the_plug()
    host.power_on()
    visitor.sees(newest)


# Versions


NEVER_WELL = {
    "exits at once": ("exits", "ended at once, with exit code 1"),
    "is never well": ("sick", f"not healthy within {HEALTH_TIMEOUT} s: /health answered 503"),
}


@pytest.mark.parametrize("fault", NEVER_WELL)
def test_a_version_is_never_well(fault: str, host: Host, registry: Registry, visitor: Visitor) -> None:
    """Release of a version that {fault}."""
    mode, reason = NEVER_WELL[fault]
    registry.push(mode)
    code, said = host.ask("release")
    assert code == 4
    assert reason in said
    assert not visitor.refused
    # And it is not tried again
    code, said = host.ask("release")
    assert code == 4
    assert "is newer, but" in said


def test_a_version_of_another_user_is_never_well(
    host: Host, registry: Registry, good: str, visitor: Visitor
) -> None:
    """Release of another user's version that is never well; the launcher killed while checking it."""
    owner = "stat --dereference --format %u /var/lib/matinee/data"
    before = host.run(owner)
    registry.push("sick", user="4321")
    host.break_at("kill", "wait_healthy")
    host.ask("release")
    host.wait_broken()
    assert host.run(owner) == "4321"
    host.is_back()  # it has tried it once more by then
    host.rests()
    assert host.run(owner) == before
    visitor.sees(good)
    # Until it has its data back, the app cannot take any
    assert {answer.trouble for answer in visitor.refused} <= {"507"}


WELL_FOR_A_MOMENT = {
    "dies": ("dies", "ended, with exit code 3"),
    "eats all memory": ("eats", "killed for going over its memory limit"),
    "answers 500 to everything": ("broken", "no longer well: /health answered 500"),
}


@pytest.mark.parametrize("fault", WELL_FOR_A_MOMENT)
def test_a_version_is_well_only_for_a_moment(
    fault: str, host: Host, registry: Registry, good: str, visitor: Visitor
) -> None:
    """Release of a version that {fault} two seconds after it was well."""
    mode, reason = WELL_FOR_A_MOMENT[fault]
    newest = registry.push(mode)
    host.does("release")
    visitor.sees(newest)
    visitor.sees(good)
    assert reason in host.status()["reason"]
    code, said = host.ask("release")
    assert code == 4
    assert "served only for a moment" in said


def test_a_version_answers_in_odd_ways(host: Host, registry: Registry, visitor: Visitor) -> None:
    """Release of a version whose health path never ends its answer, and whose websockets speak HTTP/1.0."""
    newest = registry.push("odd")
    host.does("release")
    visitor.sees(newest)
    assert not visitor.refused


def test_the_old_version_dies_while_a_sick_one_is_tried(
    host: Host, registry: Registry, visitor: Visitor
) -> None:
    """The container that serves killed while a version that is never well is being tried."""
    registry.push("sick")
    host.break_at("hang", "wait_healthy")
    with host.start("release") as release:
        host.wait_broken()
        host.run("docker kill matinee-app")
        host.mend()
        assert release.wait() == 4
    host.rests()
    visitor.sees(host.status()["version"])


def test_the_container_is_removed(host: Host, visitor: Visitor) -> None:
    """The container that serves removed by hand."""
    host.run("docker rm -f matinee-app")
    host.waits_for("docker inspect matinee-app")
    visitor.sees(host.status()["version"])


# AWS

FAULTS_OF_THE_REGISTRY: dict[str, Callable[[Rehearsal], AbstractContextManager[None]]] = {
    "down": local_aws.registry_down,
    "refusing an expired token": local_aws.registry_refusing,
}


@pytest.mark.parametrize("fault", FAULTS_OF_THE_REGISTRY)
def test_the_registry_gives_nothing(
    fault: str, rehearsal: Rehearsal, host: Host, registry: Registry, visitor: Visitor
) -> None:
    """Release with the registry {fault}."""
    newest = registry.push(megabytes=MEGABYTES)
    with FAULTS_OF_THE_REGISTRY[fault](rehearsal):
        code, said = host.ask("release")
        assert code == 1
        assert "cannot be pulled" in said
    # No fault of the version: it is tried again when somebody asks
    host.does("release")
    visitor.sees(newest)
    assert not visitor.refused


def test_the_registry_cuts_layers_in_half(
    rehearsal: Rehearsal, host: Host, registry: Registry, visitor: Visitor
) -> None:
    """Release with the registry cutting layers after their first half."""
    newest = registry.push(megabytes=MEGABYTES)
    with local_aws.registry_cutting(rehearsal, int(0.6 * SIZE)):
        host.does("release")  # Docker goes on where it was cut
    visitor.sees(newest)
    assert not visitor.refused


def test_the_registry_is_slow(rehearsal: Rehearsal, host: Host, registry: Registry, visitor: Visitor) -> None:
    """Release with the registry slow; the launcher killed in the middle of the pull."""
    newest = registry.push(megabytes=MEGABYTES)
    with local_aws.registry_slow(rehearsal, SIZE // 3), host.start("release"):
        host.waits_for("ls /var/lib/docker/tmp/GetImageBlob*")
        host.run("systemctl kill --signal KILL matinee-app")
        visitor.sees(newest)
    assert not visitor.refused


def test_old_images_are_due_while_pulling(
    rehearsal: Rehearsal, host: Host, registry: Registry, visitor: Visitor
) -> None:
    """Release right after another, so that old images are to go while the newest one is pulled, slowly."""
    registry.push()
    host.does("release")
    newest = registry.push(megabytes=MEGABYTES)
    host.break_at("hang", "prune")
    with local_aws.registry_slow(rehearsal, SIZE // (3 * DRAIN)), host.start("release") as release:
        host.waits_for(f"docker image ls -q --filter label={VERSION_LABEL}={newest} | grep .")
        host.mend()
        assert release.wait() == 0
    visitor.sees(newest)
    assert not visitor.refused


def test_the_power_goes_while_pulling(
    rehearsal: Rehearsal, host: Host, registry: Registry, good: str, visitor: Visitor
) -> None:
    """Power lost in the middle of a pull, which is at a crawl, then, too."""
    newest = registry.push(megabytes=MEGABYTES)
    with local_aws.registry_slow(rehearsal, SIZE // 18):
        with host.start("release"):
            host.waits_for("ls /var/lib/docker/tmp/GetImageBlob*")
            host.pull_the_plug()
        host.power_on()
        visitor.sees(good)
        visitor.sees(newest)


def test_the_power_goes_and_aws_does_not_answer(
    rehearsal: Rehearsal, host: Host, registry: Registry, good: str, visitor: Visitor
) -> None:
    """Power lost; when it is back, neither ECR nor SSM answers for a while."""
    newest = registry.push()
    host.pull_the_plug()
    with local_aws.api_down(rehearsal):
        host.power_on()
        visitor.sees(good)
    visitor.sees(newest)


FAULTS_OF_SSM: dict[str, Callable[[Rehearsal], AbstractContextManager[None]]] = {
    "down": local_aws.ssm_down,
    "refusing": local_aws.ssm_denied,
}


@pytest.mark.parametrize("fault", FAULTS_OF_SSM)
def test_ssm_gives_nothing(
    fault: str, rehearsal: Rehearsal, host: Host, registry: Registry, visitor: Visitor
) -> None:
    """Release with SSM {fault}."""
    newest = registry.push()
    with FAULTS_OF_SSM[fault](rehearsal):
        code, said = host.ask("release")
        assert code == 1
        assert "SSM cannot be asked for the parameters" in said
    host.does("release")
    visitor.sees(newest)
    assert not visitor.refused


def test_a_rollback_needs_neither_the_registry_nor_ssm(
    rehearsal: Rehearsal, host: Host, registry: Registry, good: str, visitor: Visitor
) -> None:
    """Rollback to a version by its name while neither ECR nor SSM answers."""
    registry.push()
    host.does("release")
    with local_aws.api_down(rehearsal):
        host.does(f"rollback --version {good}")
    visitor.sees(good)
    assert not visitor.refused


# The machine


def test_the_state_is_damaged(host: Host, registry: Registry, good: str, visitor: Visitor) -> None:
    """State file cut in half, power lost, and the newest version fails."""
    registry.push("exits")
    host.run("truncate --size 100 /var/lib/matinee/state.json")
    host.pull_the_plug()
    host.power_on()
    visitor.sees(good)


@pytest.mark.parametrize(
    ("when", "disk"), [("before a pull", 0.1), ("in the middle of a pull", 0.5 * MEGABYTES)]
)
def test_the_disk_is_full(when: str, disk: float, host: Host, registry: Registry, visitor: Visitor) -> None:
    """Disk full {when}."""
    newest = registry.push(megabytes=MEGABYTES)
    with host.mounted("/var/lib/docker/tmp", disk):
        code, said = host.ask("release")
        assert code == 1
        assert "The disk is full" in said
    host.does("release")
    visitor.sees(newest)
    assert not visitor.refused


@pytest.fixture
def small_disk(host: Host, good: str) -> Iterator[None]:
    """A disk of a megabyte for state and data."""
    host.run("systemctl stop matinee-app")
    with host.mounted("/var/lib/matinee", 1):
        host.run("systemctl start matinee-app")
        host.rests()
        yield
        host.run("rm /var/lib/matinee/filler; systemctl stop matinee-app")
    host.run("systemctl start matinee-app")


def test_the_disk_of_state_and_data_is_full(
    small_disk: None, host: Host, registry: Registry, visitor: Visitor
) -> None:
    """Disk of state and data full (the app answers 507 to who writes), then the launcher killed."""
    newest = registry.push()
    host.run("dd if=/dev/zero of=/var/lib/matinee/filler bs=1k 2> /dev/null || true")
    host.does("release")
    host.run("systemctl kill --signal KILL matinee-app")
    host.is_back()
    visitor.sees(newest)
    assert {answer.trouble for answer in visitor.refused} <= {"507"}


@pytest.mark.parametrize("how", ["restarted", "killed"])
def test_docker(how: str, host: Host, good: str, visitor: Visitor) -> None:
    """Docker {how}."""
    commands = {"restarted": "systemctl restart docker", "killed": "systemctl kill --signal KILL docker"}
    host.run(f"systemctl reset-failed docker; {commands[how]}")
    host.waits_for("docker info")
    host.does("release")
    visitor.sees(good)
    assert not visitor.refused


def test_docker_is_killed_in_the_middle_of_a_release(
    host: Host, registry: Registry, visitor: Visitor
) -> None:
    """Docker killed while a new version is being checked."""
    newest = registry.push()
    host.break_at("hang", "wait_healthy")
    with host.start("release") as release:
        host.wait_broken()
        host.run("systemctl reset-failed docker; systemctl kill --signal KILL docker")
        host.mend()
        release.wait()
    host.waits_for("docker info")
    host.does("release")
    visitor.sees(newest)
    assert not visitor.refused


def test_nginx_is_killed(host: Host, good: str, visitor: Visitor) -> None:
    """All of nginx killed."""
    host.run("systemctl kill --signal KILL nginx")
    visitor.sees(good)


def test_the_launcher_is_killed_while_the_data_are_copied(host: Host, good: str, visitor: Visitor) -> None:
    """Launcher killed while it copies the data for a backup, for which the app stands still."""
    host.break_at("kill", "copy")
    host.ask("backup --bucket none")
    host.wait_broken()
    host.is_back()
    visitor.sees(good)
    host.waits_for("! ls -d /var/lib/matinee/copy-*")
    assert not visitor.refused


def test_the_show_ends_when_everybody_has_left(host: Host, good: str) -> None:
    """The time of the show is over: the machine stops by itself, but not under a visitor."""
    with host.watched():
        host.does("show --hours 0 --idle-minutes 0.5")
        time.sleep(70)  # longer than anybody counts who has left
        assert host.power() == "running"
        assert host.status()["version"] == good
    host.wait_power("stopped", seconds=120)
    host.power_on()
    with Visitor(host.address) as visitor:
        visitor.sees(good)
    reasons = [event["reason"] for event in host.state()["history"] if event["action"] == "show"]
    assert "the time of the show is over" in reasons[-1]


@pytest.mark.parametrize("clock", ["+1d", "-1d"])
def test_the_clock_is_wrong(clock: str, host: Host, registry: Registry, visitor: Visitor) -> None:
    """Clock of the launcher wrong by {clock}."""
    newest = registry.push()
    with host.clock(clock):
        host.ask("release")
    host.does("release")
    visitor.sees(newest)
    assert not visitor.refused


# People


def test_two_releases_at_once(host: Host, registry: Registry, visitor: Visitor) -> None:
    """Two releases at once, and a third that does not wait long."""
    newest = registry.push()
    host.break_at("hang", "wait_healthy")
    with host.start("release --by alice") as first:
        host.wait_broken()
        with host.start("release --by bob") as second:
            code, said = host.ask("release --by carol --wait 1")
            assert code == 5
            assert "the release by alice" in said
            host.mend()
            assert first.wait() == 0
            assert second.wait() == 0
            assert second.stderr
            assert "Waiting for the release by alice" in second.stderr.read()
    visitor.sees(newest)
    assert not visitor.refused


def test_nothing_is_left_to_roll_back_to(host: Host, visitor: Visitor) -> None:
    """Rollbacks, until there is nothing left to roll back to."""
    for _ in range(4):
        code, said = host.ask("rollback")
        if code:
            break
    assert code == 1
    assert "There is nothing to roll back to" in said
    assert not visitor.refused


VALUES = {
    "QUOTES": """it's "quoted" \\'twice\\' `not` run""",
    "LINES": "first\nsecond\n\n  last without an end",
    "ENDS": "\n\n",
    "DOLLARS": "$HOME $(id) ${PATH} $$ !! \\$",
    "LONG": "x" * 4096,
    "UNICODE": "Grüße, 世界, 🎭, e\u0301",
    "ODD_SECRET": "'{secret}'\n\"{secret}\"",
}


def test_parameters_are_odd(rehearsal: Rehearsal, host: Host, good: str, visitor: Visitor) -> None:
    """Parameters with quotes, line ends, dollars, 4 KB, Unicode."""
    ssm = rehearsal.boto("ssm")
    values = {name: value.replace("{secret}", host.secret) for name, value in VALUES.items()}
    for name, value in values.items():
        ssm.put_parameter(Name=f"{PARAMETERS}/{name}", Value=value, Type="SecureString")
    try:
        host.does("release")
        seen = dict(line.split() for line in visitor.get("/environment").splitlines())
    finally:
        ssm.delete_parameters(Names=[f"{PARAMETERS}/{name}" for name in VALUES])
    assert {name: seen[name] for name in values} == {
        name: hashlib.sha256(value.encode()).hexdigest() for name, value in values.items()
    }
    assert not visitor.refused


def test_the_instance_is_stopped_in_the_middle_of_a_release(
    host: Host, registry: Registry, visitor: Visitor
) -> None:
    """Instance stopped by EC2 while a new version is being checked."""
    newest = registry.push()
    host.break_at("hang", "wait_healthy")
    with host.start("release"):
        host.wait_broken()
        host.power_off()
    host.power_on()
    visitor.sees(newest)
