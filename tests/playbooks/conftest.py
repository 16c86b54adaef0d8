"""One checkout for all playbook tests, set up against the rehearsal."""

import pytest

from tests.checkout import Checkout, make_checkout
from tests.local_aws import Rehearsal


@pytest.fixture(scope="session")
def checkout(rehearsal: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A fresh Git repository with the project's files as they are now, committed."""
    return make_checkout(tmp_path_factory.mktemp("checkout"), rehearsal.env)
