"""Modules run as a person runs them: in a playbook, with their arguments in variables."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.local_aws import ROOT

Client = Callable[[str], Any]  # from a service's name to a client with an administrator's rights
RunModule = Callable[..., "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What a run of a module gave: its result, and all that was told with -vvv and --diff."""

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


def play(
    folder: Path, module: str, arguments: dict[str, Any], environment: dict[str, str], check: bool
) -> Outcome:
    """Write a playbook and its variables to a folder and run it from the project's root."""
    task = {"name": "Run the module", module: {name: f"{{{{ {name}_ }}}}" for name in arguments}}
    plays = [{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]
    playbook, variables, result = folder / "play.yml", folder / "variables.json", folder / "localhost"
    playbook.write_text(json.dumps(plays, indent=1))
    variables.write_text(json.dumps({f"{name}_": value for name, value in arguments.items()}))
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-vvv", "--diff"]
    command += ["-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    command += ["-e", f"@{variables}", str(playbook)] + (["--check"] if check else [])
    # The most that Ansible can be made to tell: the result in a file, with the arguments in it
    keep_result = {"ANSIBLE_CALLBACKS_ENABLED": "tree", "ANSIBLE_CALLBACK_TREE_DIR": str(folder)}
    keep_result |= {"ANSIBLE_INJECT_INVOCATION": "true", "TMPDIR": str(folder)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment | keep_result, capture_output=True, text=True, check=False
    )
    assert result.is_file(), done.stdout + done.stderr
    output = done.stdout + done.stderr + result.read_text()
    return Outcome(json.loads(result.read_text()), output, failed=done.returncode != 0)
