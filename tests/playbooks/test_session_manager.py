"""A stage without port 22: set up, served, switched to ssh and back, and destroyed through Session Manager.

Each test goes on where the one before it ended. AWS's plugin and agent are stand-ins of the rehearsal.
"""

import json
import re
import subprocess
import urllib.request
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.checkout import ACCOUNT, Checkout, words
from tests.interrupt import holdings
from tests.local_aws import Rehearsal
from tests.permissions import new_version, small_app

BUCKET = f"ragstream-demo-files-{ACCOUNT}"
SECRET = "sk-matinee-test-0123456789abcdef"
BY_SSH = ("-e", json.dumps({"session_manager": False}))


@pytest.fixture(scope="module")
def stage(checkout: Checkout) -> Checkout:
    """A small app with a secret, of whose stage nothing is there yet."""
    small_app(checkout, session_manager=True)
    checkout.settings(app_secrets={"MODE": "good", "TOKEN": SECRET})
    return checkout


def doors(rehearsal: Rehearsal) -> set[int]:
    """The ports that the stage's security group opens."""
    [group] = rehearsal.boto("ec2").describe_security_groups(GroupNames=["ragstream-demo"])["SecurityGroups"]
    return {one["FromPort"] for one in group["IpPermissions"]}


def machine(rehearsal: Rehearsal) -> dict[str, Any]:
    """The stage's machine."""
    [reservation] = rehearsal.boto("ec2").describe_instances()["Reservations"]
    return dict(reservation["Instances"][0])


def is_on_its_way(rehearsal: Rehearsal, text: str) -> bool:
    """Tell whether a text was in a file that went through the bucket since that keeps versions."""
    s3 = rehearsal.boto("s3")
    kept = s3.list_object_versions(Bucket=BUCKET)["Versions"]
    assert kept
    return any(
        text.encode()
        in s3.get_object(Bucket=BUCKET, Key=one["Key"], VersionId=one["VersionId"])["Body"].read()
        for one in kept
    )


def test_nothing_is_made_without_the_plugin(rehearsal: Rehearsal, stage: Checkout) -> None:
    without = stage.environment | {"AWS_SESSION_MANAGER_PLUGIN": "/nowhere/session-manager-plugin"}
    run = stage.play("playbooks/provision.yml", environment=without)
    assert run.status != 0
    assert "AWS's session-manager-plugin, which that needs, is not on this machine" in words(run.output)
    assert holdings(rehearsal) == {}


def test_set_up_without_port_and_key(rehearsal: Rehearsal, stage: Checkout) -> None:
    stage.passes("site.yml")
    assert doors(rehearsal) == {80, 443}
    assert "KeyName" not in machine(rehearsal)
    assert "key-pair" not in holdings(rehearsal)
    assert not (stage.keys / "id_ed25519").exists()
    assert "Contents" not in rehearsal.boto("s3").list_objects_v2(Bucket=BUCKET)
    assert stage.passes("playbooks/provision.yml").changed == 0


def test_a_show(rehearsal: Rehearsal, stage: Checkout) -> None:
    # What is deleted is kept, to be looked at in the next test
    versioning = {"Bucket": BUCKET, "VersioningConfiguration": {"Status": "Enabled"}}
    rehearsal.boto("s3").put_bucket_versioning(**versioning)
    stage.passes("push.yml")
    stage.passes("demo-stop.yml")
    stage.passes("demo-start.yml")
    with urllib.request.urlopen(f"http://{machine(rehearsal)['PublicIpAddress']}/health") as answer:
        assert answer.status == 200
    assert "health: healthy" in stage.passes("status.yml").output
    stage.passes("logs.yml")
    stage.passes("set-parameter.yml", "-e", "parameter=TOKEN")
    stage.passes("backup.yml")
    assert "Session Manager leads to" in stage.passes("doctor.yml").output


def test_versions_and_data_come_and_go(stage: Checkout) -> None:
    [before] = re.findall(r"serves version (\w+)", stage.passes("release.yml").output)  # as before
    new_version(stage)
    stage.passes("push.yml")
    [after] = re.findall(r"serves version (\w+)", stage.passes("release.yml").output)
    assert after != before
    assert f"serves version {before} (in " in stage.passes("rollback.yml").output
    assert "with the data of" in stage.passes("restore.yml").output


def test_no_secret_goes_through_the_bucket(rehearsal: Rehearsal, stage: Checkout) -> None:
    assert is_on_its_way(rehearsal, "matinee-host")  # a command, to see that it would be found
    assert not is_on_its_way(rehearsal, SECRET)
    files = rehearsal.on_host(f"grep -rlF {SECRET} /etc /home /root /tmp /var || true")
    assert files == ""


def test_the_host_may_answer_and_no_more(rehearsal: Rehearsal, stage: Checkout) -> None:
    calls = f"""
ssm = client("ssm")
ask(ssm.get_parameter, Name="/ragstream/demo/env/TOKEN")
ask(ssm.start_session, Target="{machine(rehearsal)["InstanceId"]}")
ask(ssm.describe_instance_information)
ask(client("s3").list_objects_v2, Bucket="{BUCKET}")
ask(client("iam").list_users)
"""
    assert rehearsal.allowed_to_host(calls) == ["refused"] * 5


def test_a_host_without_its_agent_is_not_reached(rehearsal: Rehearsal, stage: Checkout) -> None:
    rehearsal.on_host("systemctl stop amazon-ssm-agent.service")
    try:
        with pytest.raises(ClientError, match="TargetNotConnected"):
            rehearsal.boto("ssm").start_session(Target=machine(rehearsal)["InstanceId"])
        run = stage.play("doctor.yml")
        assert "that of Session Manager on" in run.output
        assert "Wrong: agent, host." in run.output
    finally:
        rehearsal.on_host("systemctl start amazon-ssm-agent.service")


def test_to_ssh_with_a_key_only(rehearsal: Rehearsal, stage: Checkout) -> None:
    run = stage.play("playbooks/provision.yml", *BY_SSH)
    assert run.status != 0
    assert "a new key would lock you out" in words(run.output)
    assert doors(rehearsal) == {80, 443}
    [first, second] = [line for line in run.output.splitlines() if line.startswith(("mkdir", "ansible app_"))]
    for command in (first.replace("ssh-keygen", "ssh-keygen -q"), second):
        subprocess.run(["sh", "-euc", command], cwd=stage.path, env=stage.environment, check=True)
    stage.passes("playbooks/provision.yml", *BY_SSH)
    assert doors(rehearsal) == {22, 80, 443}
    assert holdings(rehearsal)["key-pair"] == 1
    assert BUCKET not in [one["Name"] for one in rehearsal.boto("s3").list_buckets()["Buckets"]]
    assert "health: healthy" in stage.passes("status.yml", *BY_SSH).output


def test_from_ssh_the_agent_comes_first(rehearsal: Rehearsal, stage: Checkout) -> None:
    rehearsal.on_host("dpkg --purge amazon-ssm-agent")  # as on a machine that was made for ssh
    stage.passes("playbooks/provision.yml")
    assert doors(rehearsal) == {80, 443}
    assert "key-pair" not in holdings(rehearsal)
    assert "health: healthy" in stage.passes("status.yml").output


def test_destroy_leaves_nothing(rehearsal: Rehearsal, stage: Checkout) -> None:
    stage.passes("destroy.yml", "-e", "confirm=ragstream-demo", "-e", "last_backup=false")
    buckets = [one["Name"] for one in rehearsal.boto("s3").list_buckets()["Buckets"]]
    assert buckets == [f"ragstream-demo-backup-{ACCOUNT}"]  # data stay
    stage.passes("destroy.yml", "-e", "confirm=ragstream-demo")
    assert holdings(rehearsal) == {}
    assert not stage.keys.exists()
