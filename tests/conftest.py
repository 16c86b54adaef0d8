"""What all tests share: a rehearsal of their own, beside the one a person may have up."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.faults.report import pytest_terminal_summary as pytest_terminal_summary  # the table of the faults
from tests.local_aws import Rehearsal, free_port, run_rehearsal, standing

NAME = "matinee-test"
LONGEST = [
    "faults/test_faults.py",
    "playbooks/test_show.py",
    "playbooks/test_session_manager.py",
    "playbooks/test_stages.py",
    "playbooks/test_watch.py",
    "playbooks/test_keys.py",
    "playbooks/test_interrupt.py",
    "playbooks/test_cost.py",
    "playbooks/test_destroy.py",
    "playbooks/test_lock.py",
    "playbooks/test_domain.py",
    "playbooks/test_adopt_machine.py",
    "playbooks/test_adopt.py",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no lane is left waiting for them at the end."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get("/".join(item.path.parts[-2:]), len(order)))


@pytest.fixture(scope="session")
def rehearsal() -> Iterator[Rehearsal]:
    """A local AWS, empty at first, taken away at the end of the tests."""
    _remove_left_over()
    with standing(f"{NAME}-{os.getpid()}", free_port()) as made:
        yield made


def _remove_left_over() -> None:
    """Take down what test runs left which were killed: their names say which process they belonged to."""
    for network in docker.from_env().networks.list(names=[NAME]):
        left = re.fullmatch(rf"({NAME}-(\d+).*)-vpc", str(network.name))
        if left and not Path(f"/proc/{left[2]}").exists():
            run_rehearsal("down", "--name", left[1])
