"""What moto lacks of AWS Budgets and of Cost Explorer. Each function says what it mends."""

import json
from collections.abc import Callable
from typing import Any

from moto.budgets.exceptions import NotFoundException
from moto.budgets.models import Budget, BudgetsBackend, budgets_backends
from moto.budgets.responses import BudgetsResponse
from moto.ce.models import CostExplorerBackend
from moto.ce.responses import CostExplorerResponse

from .mend import adds, mends
from .settings import ACCOUNT, PARTITION

# Nothing is billed here. This is what Cost Explorer says of tags that have been activated.
MONTH = "1.2345678901"
_activated: set[str] = set()


def install() -> None:
    """Mend moto, before its first request."""
    _update_of_a_budget()
    _filter_of_a_budget()
    _subscribers_of_a_notification()
    _tags_of_a_budget()
    _cost_allocation_tags()
    _cost_of_a_month()


def _budget(response: BudgetsResponse, name: str) -> Budget:
    budgets = budgets_backends[ACCOUNT][PARTITION].budgets[response._get_param("AccountId") or ACCOUNT]
    if name not in budgets:
        raise NotFoundException(f"Unable to get budget: {name} - the budget doesn't exist.")
    return budgets[name]


def _update_of_a_budget() -> None:
    """UpdateBudget replaces what a budget says; its notifications stay."""

    @adds(BudgetsResponse, "update_budget")
    def update_budget(response: BudgetsResponse) -> str:
        new = response._get_param("NewBudget")
        budget = _budget(response, new["BudgetName"])
        budget.budget = {"TimePeriod": budget.budget["TimePeriod"], **new}
        return json.dumps({})


def _filter_of_a_budget() -> None:
    """A budget's filter is shown only to who asks for it."""

    @mends(BudgetsResponse, "describe_budget")
    def describe_budget(original: Callable[[BudgetsResponse], str], response: BudgetsResponse) -> str:
        answer: dict[str, Any] = json.loads(original(response))
        if not response._get_param("ShowFilterExpression"):
            answer["Budget"].pop("FilterExpression", None)
        return json.dumps(answer)


def _subscribers_of_a_notification() -> None:
    """Who is told can be read, and a notification says how it stands."""

    @adds(BudgetsResponse, "describe_subscribers_for_notification")
    def describe_subscribers(response: BudgetsResponse) -> str:
        wanted = response._get_param("Notification")
        for notification in _budget(response, response._get_param("BudgetName")).notifications:
            if {**notification.details, "NotificationState": "OK"} == {**wanted, "NotificationState": "OK"}:
                return json.dumps({"Subscribers": notification.subscribers})
        raise NotFoundException("Unable to get subscribers - the notification doesn't exist.")

    @mends(BudgetsBackend, "describe_notifications_for_budget")
    def describe_notifications(
        original: Callable[..., list[dict[str, Any]]], backend: BudgetsBackend, *args: str, **kwargs: str
    ) -> list[dict[str, Any]]:
        return [{**details, "NotificationState": "OK"} for details in original(backend, *args, **kwargs)]

    @mends(BudgetsBackend, "delete_notification")
    def delete_notification(
        original: Callable[..., None], backend: BudgetsBackend, **named: dict[str, Any]
    ) -> None:
        named["notification"].pop("NotificationState", None)
        original(backend, **named)


def _tags_of_a_budget() -> None:
    """A budget is made with tags, which can be read."""

    @mends(BudgetsResponse, "create_budget")
    def create_budget(original: Callable[[BudgetsResponse], str], response: BudgetsResponse) -> str:
        answer = original(response)
        budget = _budget(response, response._get_param("Budget")["BudgetName"])
        budget.tags = response._get_param("ResourceTags", [])
        return answer

    @adds(BudgetsResponse, "list_tags_for_resource")
    def list_tags(response: BudgetsResponse) -> str:
        name = response._get_param("ResourceARN").partition(":budget/")[2]
        return json.dumps({"ResourceTags": getattr(_budget(response, name), "tags", [])})

    @adds(BudgetsResponse, "tag_resource")
    def tag_resource(response: BudgetsResponse) -> str:
        budget = _budget(response, response._get_param("ResourceARN").partition(":budget/")[2])
        new = {tag["Key"]: tag for tag in response._get_param("ResourceTags")}
        budget.tags = [tag for tag in getattr(budget, "tags", []) if tag["Key"] not in new] + [*new.values()]
        return json.dumps({})


def _cost_allocation_tags() -> None:
    """A tag counts in Cost Explorer from when its owner has activated it."""

    @adds(CostExplorerResponse, "list_cost_allocation_tags")
    def list_tags(response: CostExplorerResponse) -> str:
        keys = json.loads(response.body).get("TagKeys", [])
        return json.dumps(
            {
                "CostAllocationTags": [
                    {"TagKey": key, "Type": "UserDefined", "Status": "Active"}
                    for key in keys
                    if key in _activated
                ]
            }
        )

    @adds(CostExplorerResponse, "update_cost_allocation_tags_status")
    def update_tags(response: CostExplorerResponse) -> str:
        for entry in json.loads(response.body)["CostAllocationTagsStatus"]:
            change = _activated.add if entry["Status"] == "Active" else _activated.discard
            change(entry["TagKey"])
        return json.dumps({"Errors": []})


def _cost_of_a_month() -> None:
    """A month costs something once the tags that are asked for count, and nothing before."""

    @mends(CostExplorerBackend, "get_cost_and_usage")
    def get_cost_and_usage(_original: object, _backend: CostExplorerBackend, body: str) -> dict[str, Any]:
        asked = json.loads(body)
        conditions = asked.get("Filter", {}).get("And", [asked.get("Filter", {})])
        keys = {one["Tags"]["Key"] for one in conditions if "Tags" in one}
        amount = MONTH if keys <= _activated else "0"
        cost = {metric: {"Amount": amount, "Unit": "USD"} for metric in asked["Metrics"]}
        return {
            "ResultsByTime": [
                {"TimePeriod": asked["TimePeriod"], "Total": cost, "Groups": [], "Estimated": True}
            ],
            "DimensionValueAttributes": [],
        }
