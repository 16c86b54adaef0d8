"""Kill playbooks after each thing that they change, and write what came of it: python -m bench.interruptions.

Each run is killed after the first task that changes something, and the next goes on over what it left, until
one has nothing left to do. Takes an hour on two cores; writes docs/interruptions.md.
"""

import shutil
from collections.abc import Iterator

from bench.stage import Stage, empty_stage
from tests.checkout import ACCEPTED
from tests.interrupt import Killed, chain, holdings, push_until
from tests.local_aws import ROOT

PAGE = ROOT / "docs/interruptions.md"
HEAD = """\
# What interruptions leave behind

A run may be interrupted anywhere, by a closed lid or a power loss. Run it again: it goes on, makes nothing
twice and leaves nothing over. This page is written by `python -m bench.interruptions`, which does it in the
rehearsal: each run is killed (SIGKILL, with its workers) when a task has changed something and the next has
begun, and the next run goes on over what it left. After a task that changes nothing, all is as before it.
"""
SITE = ("site.yml, what it does in AWS", "playbooks/provision.yml", "-e", ACCEPTED)
HOST = ("site.yml, what it does on the host", "playbooks/configure.yml")
DESTROY = ("destroy.yml", "destroy.yml", "-e", "confirm=ragstream-demo", "-e", "delete_data=true")
PUSHING = ("#1 ", "pushing", "Pushed")


def table(title: str, killed: list[Killed], after: str) -> str:
    """Say after which tasks a playbook was killed, and what was there in the end."""
    rows = [f"| {number} | {run.after} |" for number, run in enumerate(killed, 1)]
    lines = [f"## {title}", "", "| run | killed after |", "| --- | --- |", *rows, "", after]
    return "\n".join(lines) + "\n"


def held(stage: Stage) -> str:
    """Say what the account holds."""
    counted = ", ".join(f"{number} × {kind}" for kind, number in holdings(stage.rehearsal).items())
    return counted or "nothing"


def measure(stage: Stage) -> Iterator[str]:
    """Kill, run again, count; gives the page's tables."""
    play = stage.checkout.passes
    yield killed_and_run_again(stage, *SITE)
    yield killed_and_run_again(stage, *HOST)
    killed = [
        Killed(f'its log said "{said.strip()}"', -9, "")
        for said in PUSHING
        if push_until(stage.checkout, said)
    ]
    play("push.yml")
    images = stage.rehearsal.boto("ecr").describe_images(repositoryName="ragstream-web")["imageDetails"]
    yield table(
        "push.yml",
        killed,
        f"The next run came to its end, and one more changed {play('push.yml').changed}. "
        f"The repository held then: {len(images)} × image.",
    )
    yield killed_and_run_again(stage, *DESTROY)


def killed_and_run_again(stage: Stage, title: str, playbook: str, *arguments: str) -> str:
    """Kill a playbook until it comes to its end, run it once more, and say what there is."""
    killed = chain(stage.checkout, playbook, *arguments)
    again = stage.checkout.passes(playbook, *arguments).changed
    return table(
        title,
        killed,
        f"The next run came to its end, and one more changed {again}. The account held then: {held(stage)}.",
    )


def main() -> None:
    """Measure, and write the page."""
    with empty_stage() as stage:
        shutil.copytree(ROOT / "tests/apps/faulty", stage.checkout.path / "small")
        stage.checkout.settings(app_context="small", app_dockerfile="")
        stage.checkout.commit("A small app")
        page = HEAD
        for one in measure(stage):
            page += "\n" + one
            PAGE.write_text(page)
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
