"""For each file of playbook tests an empty account and a checkout: any may run before it in the same lane."""

import os
from collections.abc import Iterator

import pytest

from tests.checkout import Checkout, make_checkout
from tests.conftest import NAME
from tests.local_aws import Rehearsal, free_port, standing


@pytest.fixture(scope="module")
def rehearsal() -> Iterator[Rehearsal]:
    """A local AWS, empty at first."""
    with standing(f"{NAME}-{os.getpid()}-play", free_port()) as made:
        yield made


@pytest.fixture(scope="module")
def checkout(rehearsal: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A fresh Git repository with the project's files as they are now, committed."""
    # Another region in the shell than in the settings: the settings decide
    elsewhere = {"AWS_REGION": "us-west-2", "AWS_DEFAULT_REGION": "us-west-2"}
    return make_checkout(tmp_path_factory.mktemp("checkout"), rehearsal.env | elsewhere)
