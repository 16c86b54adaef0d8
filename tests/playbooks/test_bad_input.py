"""What goes wrong before or while a stage is set up: a clear message, a failure, and nothing half-made."""

import subprocess
from collections.abc import Callable, Iterator

import docker
import pytest

from tests.checkout import ACCEPTED, Checkout, words
from tests.local_aws import Rehearsal, run_rehearsal

type Settings = Callable[..., None]


@pytest.fixture
def settings(checkout: Checkout) -> Iterator[Settings]:
    """Edit the one file that a user edits, for one test."""
    path = checkout.path / "inventory/demo/group_vars/all.yml"
    before = path.read_text()
    yield checkout.settings
    path.write_text(before)


def kill_emulator(rehearsal: Rehearsal) -> None:
    """Kill the emulator as a crash would: all that it knew is gone."""
    docker.from_env().containers.get(f"{rehearsal.name}-aws").kill()


def assert_nothing_made(rehearsal: Rehearsal) -> None:
    """Nothing of a stage is in the account."""
    assert not rehearsal.boto("ecr").describe_repositories()["repositories"]
    assert not rehearsal.boto("ec2").describe_key_pairs()["KeyPairs"]
    assert not rehearsal.boto("ec2").describe_addresses()["Addresses"]


def test_no_credentials(rehearsal: Rehearsal, checkout: Checkout) -> None:
    environment = {
        name: value
        for name, value in checkout.environment.items()
        if name not in ("AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
    }
    environment |= {"HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true"}
    run = checkout.play("site.yml", environment=environment)
    assert run.status != 0
    assert "Give your credentials in one of the usual ways" in words(run.output)
    assert_nothing_made(rehearsal)


def test_wrong_region(rehearsal: Rehearsal, checkout: Checkout, settings: Settings) -> None:
    settings(region="eu-nowhere-1")
    run = checkout.play("site.yml")
    assert run.status != 0
    assert 'There is no region "eu-nowhere-1" that your account can use' in words(run.output)
    assert_nothing_made(rehearsal)


@pytest.mark.parametrize("changes", [{"project": "My_Project"}, {"stage": "x" * 30}, {"project": "-dash"}])
def test_name_that_aws_would_refuse(
    rehearsal: Rehearsal, checkout: Checkout, settings: Settings, changes: dict[str, str]
) -> None:
    settings(**changes)
    run = checkout.play("site.yml")
    assert run.status != 0
    assert "AWS would refuse the name" in words(run.output)
    assert_nothing_made(rehearsal)


def test_domain_that_is_none(rehearsal: Rehearsal, checkout: Checkout, settings: Settings) -> None:
    settings(app_domain="https://demo.example.org")
    run = checkout.play("site.yml")
    assert run.status != 0
    assert '"https://demo.example.org" is no domain' in words(run.output)
    assert_nothing_made(rehearsal)


@pytest.mark.parametrize("changes", [{"watch": True}, {"logs_days": 8}, {"watch_hours": 500}])
def test_watching_that_there_cannot_be(
    rehearsal: Rehearsal, checkout: Checkout, settings: Settings, changes: dict[str, object]
) -> None:
    settings(**changes)
    run = checkout.play("site.yml")
    assert run.status != 0
    assert "give watch true or false and with true a notify_email" in words(run.output)
    assert_nothing_made(rehearsal)


def test_show_without_a_length(checkout: Checkout) -> None:
    run = checkout.play("demo-start.yml", "-e", "hours=soon")
    assert run.status != 0
    assert "Give hours a number greater than 0" in words(run.output)


def test_no_dockerfile(checkout: Checkout, settings: Settings) -> None:
    settings(app_context="docs", app_dockerfile="")
    run = checkout.play("push.yml")
    assert run.status != 0
    assert "Dockerfile" in run.output


def test_push_before_site(checkout: Checkout) -> None:
    run = checkout.play("push.yml")
    assert run.status != 0
    assert "Create it with `ansible-playbook site.yml`" in words(run.output)


def test_missing_secret_is_named_before_anything_is_stored(
    rehearsal: Rehearsal, checkout: Checkout, settings: Settings
) -> None:
    settings(app_settings={"MODEL": "small"}, app_optional_secrets=[])
    run = checkout.play("playbooks/provision.yml")
    assert run.status != 0
    assert "OPENAI_API_KEY" in run.output
    assert not rehearsal.boto("ssm").get_parameters_by_path(Path="/ragstream/demo/env")["Parameters"]


def test_emulator_killed_half_way_then_run_again(rehearsal: Rehearsal, checkout: Checkout) -> None:
    site = subprocess.Popen(
        ["ansible-playbook", "site.yml", "-e", ACCEPTED],
        cwd=checkout.path,
        env=checkout.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seen = ""
    for line in site.stdout or ():
        seen += line
        if "TASK [cloud_identity : Role of the host]" in line:
            kill_emulator(rehearsal)
    assert site.wait() != 0, seen
    assert run_rehearsal("up", "--name", rehearsal.name, port=rehearsal.port).returncode == 0
    checkout.passes("site.yml")
    assert checkout.passes("site.yml").changed == 0
    checkout.passes("destroy.yml", "-e", "confirm=ragstream-demo")
    assert_nothing_made(rehearsal)
