"""One checkout for all playbook tests, set up against the rehearsal."""

import pytest

from tests.checkout import Checkout, make_checkout


@pytest.fixture(scope="session")
def checkout(rehearsal, tmp_path_factory: pytest.TempPathFactory) -> Checkout:  # noqa: ANN001
    """A fresh Git repository with the project's files as they are now, committed."""
    return make_checkout(tmp_path_factory.mktemp("checkout"), rehearsal.env)
