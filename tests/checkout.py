"""A checkout of the project as a user has it, and its playbooks run as a user runs them."""

import contextlib
import os
import pty
import re
import select
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.local_aws import ROOT

ACCOUNT = "123456789012"  # of the rehearsal
# USD a month that a stage of the tests may cost; what creates is not run without a ceiling
ACCEPTED = "accept_monthly_cost=20"
CREATE = {"site.yml", "playbooks/provision.yml"}


def words(text: str) -> str:
    """Return a text with each run of blanks as one, since messages are wrapped where they are shown."""
    return " ".join(text.split())


@dataclass(frozen=True)
class Run:
    """What a playbook printed, and how it ended."""

    status: int
    output: str

    @property
    def changed(self) -> int:
        """How many tasks changed something, on all hosts."""
        return sum(map(int, re.findall(r"changed=(\d+)", self.output)))


@dataclass
class Checkout:
    """A Git checkout of the project, with the environment that its playbooks run in."""

    path: Path
    environment: dict[str, str] = field(repr=False)

    def play(self, playbook: str, *arguments: str, environment: dict[str, str] | None = None) -> Run:
        """Run a playbook and return what it printed; standard input is closed, as in CI.

        The price of what it creates is accepted, and data go with what is destroyed, unless the arguments say
        something of it.
        """
        if playbook in CREATE and "accept_monthly_cost" not in " ".join(arguments):
            arguments = (*arguments, "-e", ACCEPTED)
        if (
            playbook == "destroy.yml"
            and "data" not in " ".join(arguments)
            and "last_backup" not in " ".join(arguments)
        ):
            arguments = (*arguments, "-e", "delete_data=true")
        done = subprocess.run(
            ["ansible-playbook", playbook, *arguments],
            cwd=self.path,
            env=self.environment if environment is None else environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        print(done.stdout)
        return Run(done.returncode, done.stdout)

    def play_at_terminal(self, playbook: str, *arguments: str, asked: str, until: str, typed: str) -> Run:
        """Run a playbook at a terminal, where somebody types when asked, and return what was seen.

        What is typed before somebody listens is lost, so it is typed until the play has gone on.
        """
        terminal, theirs = pty.openpty()
        process = subprocess.Popen(
            ["ansible-playbook", playbook, *arguments],
            cwd=self.path,
            env=self.environment,
            preexec_fn=lambda: os.login_tty(theirs),  # noqa: PLW1509 - before anything has threads
        )
        os.close(theirs)
        output = ""
        with contextlib.suppress(OSError):  # how a terminal ends
            while True:
                if select.select([terminal], [], [], 1)[0]:
                    output += os.read(terminal, 65536).decode(errors="replace")
                elif asked in output and until not in output:
                    os.write(terminal, f"{typed}\r".encode())
        os.close(terminal)
        print(output)
        return Run(process.wait(), output)

    def passes(self, playbook: str, *arguments: str, environment: dict[str, str] | None = None) -> Run:
        """Run a playbook that must succeed."""
        run = self.play(playbook, *arguments, environment=environment)
        assert run.status == 0, run.output[-4000:]
        return run

    def git(self, *arguments: str) -> str:
        """Run Git and return what it printed."""
        return subprocess.run(
            ["git", *arguments], cwd=self.path, check=True, capture_output=True, text=True
        ).stdout.strip()

    def commit(self, message: str) -> None:
        """Commit everything."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def settings(self, **changes: object) -> None:
        """Edit the one file that a user edits."""
        path = self.path / "inventory/demo/group_vars/all.yml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes, sort_keys=False))

    @property
    def version(self) -> str:
        """The version that a push from here has: the last commit that touched the app."""
        return self.git("log", "-1", "--format=%H", "--", "app", "Dockerfile")[:12]

    @property
    def keys(self) -> Path:
        """Where the playbooks keep this machine's keys for the stage."""
        return self.path / ".matinee" / ACCOUNT / "ragstream-demo"


def make_checkout(path: Path, environment: dict[str, str]) -> Checkout:
    """Make a fresh Git repository at a path with the project's files as they are now, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        if source.exists():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, path / name, follow_symlinks=False)
    made = Checkout(path, environment | {"PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}"})
    made.git("init", "--quiet", "--initial-branch=main")
    made.git("config", "user.name", "A user")
    made.git("config", "user.email", "user@example.org")
    made.commit("The project as it is")
    return made
