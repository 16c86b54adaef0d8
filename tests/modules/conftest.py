"""What the tests of the modules share: the rehearsal, seen by a module and by an administrator."""

import json
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import ansible.module_utils
import pytest

from tests.local_aws import ROOT, Rehearsal
from tests.modules.running import Client, Outcome, RunModule, play

# As Ansible does for a module, so that tests can import what modules share
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))


@pytest.fixture(scope="session")
def run_module(rehearsal: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> RunModule:
    """Run a module; `environment` adds to the rehearsal's."""

    def run(
        module: str, arguments: dict[str, Any], check: bool = False, environment: dict[str, str] | None = None
    ) -> Outcome:
        folder = tmp_path_factory.mktemp("play")
        return play(folder, module, arguments, rehearsal.env | (environment or {}), check)

    return run


@pytest.fixture(scope="session")
def aws(rehearsal: Rehearsal) -> Client:
    """Clients with an administrator's rights, to look at AWS with another eye than the modules'."""
    return cache(rehearsal.boto)


@pytest.fixture
def as_key(rehearsal: Rehearsal, tmp_path: Path) -> Callable[[str, str], dict[str, str]]:
    """Give the environment in which AWS tools use an access key."""

    def environment(identity: str, secret: str) -> dict[str, str]:
        file = tmp_path / "credentials"
        lines = [
            f"[{rehearsal.env['AWS_PROFILE']}]",
            f"aws_access_key_id={identity}",
            f"aws_secret_access_key={secret}",
        ]
        file.write_text("\n".join(lines))
        return {"AWS_SHARED_CREDENTIALS_FILE": str(file)}

    return environment


@pytest.fixture
def as_user(
    aws: Client, as_key: Callable[[str, str], dict[str, str]]
) -> Iterator[Callable[[list[dict[str, Any]]], dict[str, str]]]:
    """Give the environment in which AWS tools are a user with the given rights only."""
    iam, name = aws("iam"), f"test-{uuid.uuid4().hex[:8]}"
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]

    def environment(statements: list[dict[str, Any]]) -> dict[str, str]:
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName=name, PolicyName="rights", PolicyDocument=policy)
        return as_key(key["AccessKeyId"], key["SecretAccessKey"])

    yield environment
    iam.delete_user_policy(UserName=name, PolicyName="rights")
    iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
    iam.delete_user(UserName=name)
