"""Run the modules as a person does, with the ansible command, against the rehearsal."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ansible.module_utils
import boto3
import pytest

ROOT = Path(__file__).parents[2]
REGION = "eu-central-1"
# As Ansible does for a module, so that tests can import what modules share
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))


@dataclass(frozen=True)
class Outcome:
    """What a run of a module gave: its result, and all that was printed with -vvv and --diff."""

    result: dict[str, Any]
    output: str
    failed: bool

    @property
    def changed(self) -> bool:
        """Whether the module says that it has changed something."""
        return self.result["changed"]

    @property
    def message(self) -> str:
        """The module's sentence for the user."""
        return self.result["msg"]


RunModule = Callable[..., Outcome]
Client = Callable[[str], Any]


@pytest.fixture(scope="session")
def run_module(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> RunModule:
    """Run a module in a playbook that takes the arguments from variables, as one does with secrets.

    The `environment` given to a run may replace the rehearsal's credentials.
    """
    scratch = tmp_path_factory.mktemp("plays")

    def run(
        module: str, arguments: dict[str, Any], check: bool = False, environment: dict[str, str] | None = None
    ) -> Outcome:
        folder = scratch / uuid.uuid4().hex
        folder.mkdir()
        task = {"name": "Run the module", module: {name: f"{{{{ {name}_ }}}}" for name in arguments}}
        play = {"hosts": "localhost", "gather_facts": False, "tasks": [task]}
        (folder / "play.yml").write_text(json.dumps([play], indent=1))
        (folder / "variables.json").write_text(
            json.dumps({f"{name}_": arguments[name] for name in arguments})
        )
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-vvv", "--diff"]
        command += ["-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
        command += ["-e", f"@{folder}/variables.json", f"{folder}/play.yml"] + (["--check"] if check else [])
        keep_result = {"ANSIBLE_CALLBACKS_ENABLED": "tree", "ANSIBLE_CALLBACK_TREE_DIR": str(folder)}
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | cloud | keep_result | (environment or {}),
            capture_output=True,
            text=True,
            check=False,
        )
        result, output = folder / "localhost", done.stdout + done.stderr
        assert result.is_file(), output
        return Outcome(json.loads(result.read_text()), output, failed=done.returncode != 0)

    return run


@pytest.fixture(scope="session")
def aws(cloud: dict[str, str]) -> Client:
    """Clients with an administrator's rights, to look at AWS with another eye than the modules'."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.items():
            patch.setenv(name, value)
        session = boto3.Session(region_name=REGION)
        return {name: session.client(name) for name in ("ec2", "ecr", "iam", "ssm")}.__getitem__


@pytest.fixture
def user(aws: Client) -> Any:
    """Make an IAM user with the given rights only, and return the environment of that user."""
    iam, names = aws("iam"), []

    def make(statements: list[dict[str, Any]]) -> dict[str, str]:
        name = f"test-{uuid.uuid4().hex[:8]}"
        iam.create_user(UserName=name)
        names.append(name)
        if statements:
            policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
            iam.put_user_policy(UserName=name, PolicyName="rights", PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    yield make
    for name in names:
        for key in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]:
            iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
        for policy in iam.list_user_policies(UserName=name)["PolicyNames"]:
            iam.delete_user_policy(UserName=name, PolicyName=policy)
        iam.delete_user(UserName=name)


@pytest.fixture(scope="session")
def cloud(rehearsal: Any) -> dict[str, str]:
    """The environment that points AWS tools at the rehearsal."""
    return rehearsal.environment | {"AWS_REGION": REGION}
