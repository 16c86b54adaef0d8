"""A checkout for each file of playbook tests, set up against the rehearsal."""

import pytest

from tests.checkout import Checkout, make_checkout
from tests.local_aws import Rehearsal


@pytest.fixture(scope="module")
def checkout(rehearsal: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A fresh Git repository with the project's files as they are now, committed.

    One for each file, since each edits the settings, and any may run before it in the same lane.
    """
    # Another region in the shell than in the settings: the settings decide
    elsewhere = {"AWS_REGION": "us-west-2", "AWS_DEFAULT_REGION": "us-west-2"}
    return make_checkout(tmp_path_factory.mktemp("checkout"), rehearsal.env | elsewhere)
