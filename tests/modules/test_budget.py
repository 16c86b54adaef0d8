"""budget, against AWS Budgets of the rehearsal."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.checkout import ACCOUNT
from tests.modules.running import Client, Outcome, RunModule

MAIL = "owner@example.org"
TAGS = {"Project": "ragstream", "Stage": "demo"}


@pytest.fixture
def name(aws: Client) -> Iterator[str]:
    made = f"test-{uuid.uuid4().hex[:8]}"
    yield made
    budgets = aws("budgets")
    if made in [budget["BudgetName"] for budget in budgets.describe_budgets(AccountId=ACCOUNT)["Budgets"]]:
        budgets.delete_budget(AccountId=ACCOUNT, BudgetName=made)


@pytest.fixture
def keep(run_module: RunModule, name: str) -> Callable[..., Outcome]:
    """Run the module for the budget; what is given differs from the usual."""

    def run(check: bool = False, environment: dict[str, str] | None = None, **different: Any) -> Outcome:
        arguments = {"name": name, "usd": 10, "mail": MAIL, "filter_tags": TAGS, "tags": TAGS} | different
        arguments = {key: value for key, value in arguments.items() if value is not None}
        return run_module("budget", arguments, check=check, environment=environment)

    return run


def described(aws: Client, name: str) -> dict[str, Any]:
    """Return the budget as AWS has it."""
    found = aws("budgets").describe_budget(AccountId=ACCOUNT, BudgetName=name, ShowFilterExpression=True)
    return dict(found["Budget"])


def told(aws: Client, name: str) -> dict[float, list[str]]:
    """Return who gets a mail at which share."""
    client, names = aws("budgets"), {"AccountId": ACCOUNT, "BudgetName": name}
    return {
        one["Threshold"]: [
            subscriber["Address"]
            for subscriber in client.describe_subscribers_for_notification(**names, Notification=one)[
                "Subscribers"
            ]
        ]
        for one in client.describe_notifications_for_budget(**names)["Notifications"]
    }


def test_made_once_and_as_asked(aws: Client, keep: Callable[..., Outcome], name: str) -> None:
    assert keep(check=True).changed
    assert name not in str(aws("budgets").describe_budgets(AccountId=ACCOUNT))
    assert keep().changed
    budget = described(aws, name)
    assert (budget["BudgetLimit"]["Unit"], float(budget["BudgetLimit"]["Amount"])) == ("USD", 10)
    assert budget["TimeUnit"] == "MONTHLY"
    assert [(one["Tags"]["Key"], one["Tags"]["Values"]) for one in budget["FilterExpression"]["And"]] == [
        ("Project", ["ragstream"]),
        ("Stage", ["demo"]),
    ]
    assert told(aws, name) == {50: [MAIL], 80: [MAIL], 100: [MAIL]}
    assert not keep().changed


def test_changes_and_says_what_in_the_diff(aws: Client, keep: Callable[..., Outcome], name: str) -> None:
    keep()
    checked = keep(check=True, usd=25, mail="other@example.org")
    assert checked.changed
    assert (checked.result["diff"]["before"]["usd"], checked.result["diff"]["after"]["usd"]) == (10, 25)
    assert told(aws, name)[50] == [MAIL]
    assert keep(usd=25, mail="other@example.org", thresholds=[90]).changed
    assert float(described(aws, name)["BudgetLimit"]["Amount"]) == 25
    assert told(aws, name) == {90: ["other@example.org"]}
    assert not keep(usd=25, mail="other@example.org", thresholds=[90]).changed


def test_absent(aws: Client, keep: Callable[..., Outcome], name: str) -> None:
    keep()
    assert keep(check=True, state="absent").changed
    assert described(aws, name)
    assert keep(state="absent").changed
    assert name not in str(aws("budgets").describe_budgets(AccountId=ACCOUNT))
    assert not keep(state="absent").changed


@pytest.mark.parametrize(
    ("different", "message"),
    [
        ({"usd": 0}, "more than 0 USD"),
        ({"mail": "nobody"}, "an address to write to"),
        ({"mail": None}, "mail"),
    ],
)
def test_bad_input_is_refused(keep: Callable[..., Outcome], different: dict[str, Any], message: str) -> None:
    outcome = keep(**different)
    assert outcome.failed
    assert message in outcome.message


def test_missing_right_is_named(
    keep: Callable[..., Outcome], as_user: Callable[[list[dict[str, Any]]], dict[str, str]]
) -> None:
    rights = [{"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"}]
    outcome = keep(environment=as_user(rights))
    assert outcome.failed
    assert "lack the right budgets:ViewBudget" in outcome.message
