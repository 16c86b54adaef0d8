"""Runs that are killed, again and again, until one is left alone: nothing is doubled, nothing left over.

Here each is killed after a few changes; python -m bench interruptions does so after every single one.
"""

import json
import shutil

import pytest

from tests.checkout import ACCEPTED, ROOT, Checkout
from tests.interrupt import chain, holdings, push_until, run_until_changes
from tests.local_aws import Rehearsal

CHANGES = 6  # that a run may make before it is killed
ON_HOST = 15
IDLE = 30  # minutes


@pytest.fixture(scope="module")
def stage(checkout: Checkout) -> Checkout:
    """A stage with a small app, of which nothing is there yet."""
    shutil.copytree(ROOT / "tests/apps/faulty", checkout.path / "small")
    checkout.settings(app_context="small", app_dockerfile="")
    checkout.commit("A small app")
    return checkout


def test_provision_converges(rehearsal: Rehearsal, stage: Checkout) -> None:
    assert len(chain(stage, "playbooks/provision.yml", "-e", ACCEPTED, changes=CHANGES)) >= 2
    assert stage.passes("playbooks/provision.yml").changed == 0
    kinds = ["instance", "volume", "elastic-ip", "security-group", "key-pair", "user", "access-key"]
    kinds += ["role", "instance-profile", "repository", "parameter"]
    assert holdings(rehearsal) == dict.fromkeys(kinds, 1)
    assert "AWS_SECRET_ACCESS_KEY=" in (stage.keys / "github-secrets.env").read_text()


def test_configure_converges(stage: Checkout) -> None:
    assert len(chain(stage, "playbooks/configure.yml", changes=ON_HOST)) >= 1
    assert stage.passes("playbooks/configure.yml").changed == 0


def test_what_runs_takes_the_configuration_of_a_run_that_was_killed(
    rehearsal: Rehearsal, stage: Checkout
) -> None:
    stage.settings(app_idle_minutes=IDLE)
    killed = run_until_changes(stage, "playbooks/configure.yml", changes=1)
    assert killed.after == "host_app : Configure the launcher"
    stage.passes("playbooks/configure.yml")
    assert json.loads(rehearsal.on_host("matinee-host show"))["idle_minutes"] == IDLE
    assert stage.passes("playbooks/configure.yml").changed == 0


def test_push_converges(rehearsal: Rehearsal, stage: Checkout) -> None:
    for said in ("#1 ", "pushing", "Pushed"):  # while it is built, while it is sent
        push_until(stage, said)
    stage.passes("push.yml")
    assert stage.passes("push.yml").changed == 0
    [image] = rehearsal.boto("ecr").describe_images(repositoryName="ragstream-web")["imageDetails"]
    assert "latest" in image["imageTags"]


def test_destroy_converges(rehearsal: Rehearsal, stage: Checkout) -> None:
    arguments = ("-e", "confirm=ragstream-demo", "-e", "delete_data=true")
    assert len(chain(stage, "destroy.yml", *arguments, changes=CHANGES)) >= 1
    assert stage.passes("destroy.yml", *arguments).changed == 0
    assert holdings(rehearsal) == {}
    assert not rehearsal.boto("ssm").describe_parameters()["Parameters"]
    assert not stage.keys.exists()
