"""cost_to_date, against Cost Explorer of the rehearsal."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.modules.running import Client, RunModule

TAGS = {"Project": "ragstream", "Stage": "demo"}


@pytest.fixture
def activate(aws: Client) -> Iterator[Callable[[str], None]]:
    """Activate a cost allocation tag, for one test."""

    def switch(key: str, status: str = "Active") -> None:
        aws("ce").update_cost_allocation_tags_status(
            CostAllocationTagsStatus=[{"TagKey": key, "Status": status}]
        )

    yield switch
    for key in TAGS:
        switch(key, "Inactive")


def test_tags_count_from_when_they_are_activated(
    run_module: RunModule, activate: Callable[[str], None]
) -> None:
    activate("Stage")
    before = run_module("cost_to_date", {"tags": TAGS, "region": "eu-central-1"}).result
    assert before["usd"] is None
    assert "does not count by Project yet" in before["note"]
    activate("Project")
    after = run_module("cost_to_date", {"tags": TAGS, "region": "eu-central-1"}).result
    assert (after["usd"], after["note"], after["changed"]) == (1.23, "", False)


def test_missing_right_is_said_and_no_failure(
    run_module: RunModule, as_user: Callable[[list[dict[str, Any]]], dict[str, str]]
) -> None:
    rights = [{"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"}]
    arguments = {"tags": TAGS, "region": "eu-central-1"}
    outcome = run_module("cost_to_date", arguments, environment=as_user(rights))
    assert not outcome.failed
    assert outcome.result["usd"] is None
    assert "lack the right ce:GetCostAndUsage" in outcome.result["note"]
