"""Session Manager: a shell on a host whose agent may answer, for who may start a session there."""

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local_aws import Rehearsal
from tests.rehearsal.conftest import ACCOUNT, allow, make_user, policy
from tests.rehearsal.host import Host

ADDRESS = (
    "https://s3.eu-central-1.amazonaws.com/amazon-ssm-eu-central-1/latest/debian_amd64/amazon-ssm-agent.deb"
)
AGENT = f"#!/bin/sh\ncurl --fail --output /tmp/agent.deb {ADDRESS} && dpkg --install /tmp/agent.deb\n"
INSTANCES = f"arn:aws:ec2:eu-central-1:{ACCOUNT}:instance"
DOCUMENT = f"arn:aws:ssm:eu-central-1:{ACCOUNT}:document/SSM-SessionManagerRunShell"
CHANNELS = [f"ssmmessages:{verb}{kind}Channel" for verb in ("Create", "Open") for kind in ("Control", "Data")]


@pytest.fixture(scope="module")
def agent(rehearsal: Rehearsal, launch: Callable[..., Host], profile: str) -> Host:
    """A host whose user data have installed the agent, and whose role may do what that does."""
    rights = policy(allow(["ssm:UpdateInstanceInformation", *CHANNELS], "*"))
    rehearsal.boto("iam").put_role_policy(RoleName=profile, PolicyName="agent", PolicyDocument=rights)
    host = launch(AGENT)
    while not is_online(rehearsal, host):
        time.sleep(0.5)
    return host


@pytest.fixture(scope="module")
def caller(rehearsal: Rehearsal, agent: Host) -> dict[str, str]:
    """The key of somebody who may start sessions on this host alone."""
    start = allow(["ssm:StartSession"], f"{INSTANCES}/{agent.instance_id}", DOCUMENT)
    channel = allow(["ssmmessages:OpenDataChannel"], f"arn:aws:ssm:eu-central-1:{ACCOUNT}:session/*")
    return make_user(rehearsal, "caller", start, channel)


def is_online(rehearsal: Rehearsal, host: Host) -> bool:
    """Whether the API says that the agent of a host is connected."""
    wanted = [{"Key": "InstanceIds", "Values": [host.instance_id]}]
    found = rehearsal.boto("ssm").describe_instance_information(Filters=wanted)["InstanceInformationList"]
    return [one["PingStatus"] for one in found] == ["Online"]


def visit(rehearsal: Rehearsal, session: dict[str, Any], typed: str) -> subprocess.CompletedProcess[str]:
    """Type something in a session, by the plugin."""
    plugin = rehearsal.env["AWS_SESSION_MANAGER_PLUGIN"]
    command = [plugin, json.dumps(session), "eu-central-1", "StartSession", "", "{}", "http://127.0.0.1"]
    return subprocess.run(command, input=typed, capture_output=True, text=True, check=False)


def test_a_session_is_a_shell_that_may_use_sudo(
    rehearsal: Rehearsal, agent: Host, caller: dict[str, str]
) -> None:
    session = rehearsal.boto("ssm", **caller).start_session(Target=agent.instance_id)
    done = visit(rehearsal, session, "echo I am $(id -un), $(sudo id -un) and $(tty)\nexit\n")
    assert done.returncode == 0, done.stderr
    assert f"Starting session with SessionId: {session['SessionId']}" in done.stdout
    assert "I am ssm-user, root and /dev/pts/" in done.stdout


def test_a_session_takes_its_own_token(rehearsal: Rehearsal, agent: Host, caller: dict[str, str]) -> None:
    session = rehearsal.boto("ssm", **caller).start_session(Target=agent.instance_id)
    done = visit(rehearsal, session | {"TokenValue": "another"}, "exit\n")
    assert done.returncode != 0
    assert "The session was refused" in done.stderr


def test_iam_says_who_may_start_one_and_where(
    rehearsal: Rehearsal, agent: Host, host: Host, caller: dict[str, str]
) -> None:
    with pytest.raises(ClientError, match=f"AccessDenied.*{INSTANCES}/{host.instance_id}"):
        rehearsal.boto("ssm", **caller).start_session(Target=host.instance_id)
    with pytest.raises(ClientError, match="TargetNotConnected"):  # it has no agent
        rehearsal.boto("ssm").start_session(Target=host.instance_id)


def test_iam_may_ask_for_the_tags_of_the_machine(rehearsal: Rehearsal, agent: Host) -> None:
    tagged = {"StringEquals": {"ssm:resourceTag/Purpose": "sessions"}}
    start = allow(["ssm:StartSession"], f"{INSTANCES}/*") | {"Condition": tagged}
    key = make_user(rehearsal, "tagged", start, allow(["ssm:StartSession"], DOCUMENT))
    with pytest.raises(ClientError, match="AccessDenied"):
        rehearsal.boto("ssm", **key).start_session(Target=agent.instance_id)
    tags = [{"Key": "Purpose", "Value": "sessions"}]
    rehearsal.boto("ec2").create_tags(Resources=[agent.instance_id], Tags=tags)
    assert rehearsal.boto("ssm", **key).start_session(Target=agent.instance_id)["SessionId"]


def test_an_agent_without_its_rights_is_not_connected(
    rehearsal: Rehearsal, agent: Host, profile: str
) -> None:
    rehearsal.boto("iam").delete_role_policy(RoleName=profile, PolicyName="agent")
    with pytest.raises(ClientError, match="TargetNotConnected"):
        rehearsal.boto("ssm").start_session(Target=agent.instance_id)
    assert not is_online(rehearsal, agent)
