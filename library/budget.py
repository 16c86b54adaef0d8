#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: a monthly budget that sends mails."""

DOCUMENTATION = r"""
---
module: budget
short_description: Keep a monthly budget in AWS Budgets that sends mails
description:
  - Keeps a cost budget for each calendar month, over what carries certain tags, which sends a mail when the
    month has cost given shares of it.
  - A budget tells, it stops nothing. AWS brings its figures up to date up to three times a day.
  - AWS takes no money for a budget that only sends mails.
author:
  - The Matinee authors
options:
  name:
    description: Name of the budget.
    type: str
    required: true
  state:
    description: Whether there is to be one.
    type: str
    choices: [absent, present]
    default: present
  usd:
    description: What a month may cost. Needed for O(state=present).
    type: float
  mail:
    description: Address that gets the mails. Needed for O(state=present).
    type: str
  thresholds:
    description: Shares of O(usd) at which a mail is sent, in percent.
    type: list
    elements: int
    default: [50, 80, 100]
  filter_tags:
    description:
      - What carries all of these tags is counted. AWS counts by a tag only from when it has been activated as
        a cost allocation tag, in Billing and Cost Management.
    type: dict
    default: {}
  tags:
    description: Tags of the budget itself.
    type: dict
    default: {}
notes:
  - Needs the rights C(budgets:ViewBudget), C(budgets:ModifyBudget), C(budgets:TagResource),
    C(budgets:ListTagsForResource) and C(sts:GetCallerIdentity). In an account that has not given its IAM
    users access to billing, AWS refuses them whatever their policies say.
  - Other subscribers and notifications of the budget are removed.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Tell when the stage costs more than planned
  budget:
    name: ragstream-demo
    usd: 10
    mail: you@example.org
    filter_tags:
      Project: ragstream
      Stage: demo

- name: No budget any more
  budget:
    name: ragstream-demo
    state: absent
"""

RETURN = r"""
name:
  description: Name of the budget.
  returned: success
  type: str
usd:
  description: What a month may cost; none without a budget.
  returned: success
  type: float
"""

import contextlib
from decimal import Decimal
from typing import Any

with contextlib.suppress(ImportError):  # AnsibleAWSModule reports a missing library
    from botocore.exceptions import BotoCoreError, ClientError

from ansible.module_utils.aws_errors import explain
from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry, RetryingBotoClientWrapper
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)

State = dict[str, Any]  # a budget as people see it, empty for none
ARN = "arn:aws:budgets::{account}:budget/{name}"


def notification(threshold: int) -> dict[str, Any]:
    """A notification as AWS words it."""
    return {
        "NotificationType": "ACTUAL",
        "ComparisonOperator": "GREATER_THAN",
        "Threshold": threshold,
        "ThresholdType": "PERCENTAGE",
    }


def subscribers(mail: str) -> list[dict[str, str]]:
    """Who is told, as AWS words it."""
    return [{"SubscriptionType": "EMAIL", "Address": mail}]


def expression(tags: dict[str, str]) -> dict[str, Any]:
    """A filter by tags as AWS words it; one condition may not stand in an And."""
    conditions = [
        {"Tags": {"Key": key, "Values": [value], "MatchOptions": ["EQUALS"]}}
        for key, value in sorted(tags.items())
    ]
    return conditions[0] if len(conditions) == 1 else {"And": conditions}


def conditions(expression: dict[str, Any]) -> dict[str, str]:
    """The tags that a filter asks for; a filter of another kind asks for none."""
    tags = [one.get("Tags", {}) for one in expression.get("And", [expression])]
    return {tag["Key"]: tag["Values"][0] for tag in tags if tag}


class Budget:
    """One budget of the account."""

    def __init__(self, module: AnsibleAWSModule) -> None:
        retry = AWSRetry.jittered_backoff()
        self.client: RetryingBotoClientWrapper = module.client("budgets", retry_decorator=retry)
        self.account = module.client("sts", retry_decorator=retry).get_caller_identity(aws_retry=True)[
            "Account"
        ]
        self.name: str = module.params["name"]
        self.names = {"AccountId": self.account, "BudgetName": self.name}
        self.arn = ARN.format(account=self.account, name=self.name)

    def describe(self) -> State:
        """Read it, with who is told and when."""
        try:
            found = self.client.describe_budget(**self.names, ShowFilterExpression=True, aws_retry=True)[
                "Budget"
            ]
        except is_boto3_error_code("NotFoundException"):
            return {}
        told = self.client.describe_notifications_for_budget(**self.names, aws_retry=True)["Notifications"]
        tags = self.client.list_tags_for_resource(ResourceARN=self.arn, aws_retry=True).get(
            "ResourceTags", []
        )
        return {
            "usd": float(Decimal(found["BudgetLimit"]["Amount"])),
            "month": found["TimeUnit"] == "MONTHLY",
            "filter_tags": conditions(found.get("FilterExpression", {})),
            "mails": sorted(mail for one in told for mail in self._mails(one)),
            "tags": boto3_tag_list_to_ansible_dict(tags),
        }

    def _mails(self, one: dict[str, Any]) -> list[str]:
        """Who is told of one notification, and at which share, in words."""
        asked = {**self.names, "Notification": one}
        found = self.client.describe_subscribers_for_notification(**asked, aws_retry=True)["Subscribers"]
        kind = "" if notification(int(one["Threshold"])).items() <= one.items() else " of another kind"
        return [mail(subscriber["Address"], int(one["Threshold"])) + kind for subscriber in found]

    def write(self, wanted: State, before: State) -> None:
        """Make it, or change what differs."""
        budget = {
            "BudgetName": self.name,
            "BudgetType": "COST",
            "TimeUnit": "MONTHLY",
            "BudgetLimit": {"Amount": str(wanted["usd"]), "Unit": "USD"},
        }
        if wanted["filter_tags"]:
            budget |= {"FilterExpression": expression(wanted["filter_tags"]), "Metrics": ["UnblendedCost"]}
        tags = ansible_dict_to_boto3_tag_list(wanted["tags"])
        if not before:
            self.client.create_budget(
                AccountId=self.account,
                Budget=budget,
                NotificationsWithSubscribers=wanted["told"],
                ResourceTags=tags,
                aws_retry=True,
            )
            return
        if any(wanted[key] != before[key] for key in ("usd", "month", "filter_tags")):
            self.client.update_budget(AccountId=self.account, NewBudget=budget, aws_retry=True)
        if wanted["mails"] != before["mails"]:
            self._tell_anew(wanted["told"])
        if wanted["tags"] != before["tags"]:
            self.client.tag_resource(ResourceARN=self.arn, ResourceTags=tags, aws_retry=True)

    def _tell_anew(self, told: list[dict[str, Any]]) -> None:
        old = self.client.describe_notifications_for_budget(**self.names, aws_retry=True)["Notifications"]
        for one in old:
            self.client.delete_notification(**self.names, Notification=one, aws_retry=True)
        for one in told:
            self.client.create_notification(**self.names, **one, aws_retry=True)

    def remove(self) -> None:
        """Delete it; one that is gone already is no error."""
        with contextlib.suppress(self.client.exceptions.NotFoundException):
            self.client.delete_budget(**self.names, aws_retry=True)


def mail(address: str, threshold: int) -> str:
    """Say who is told and when."""
    return f"{address} at {threshold} %"


def ensure(module: AnsibleAWSModule) -> None:
    """Bring the budget to what is wanted."""
    params = module.params
    budget = Budget(module)
    before = budget.describe()
    wanted: State = {}
    if params["state"] == "present":
        told = [
            {"Notification": notification(share), "Subscribers": subscribers(params["mail"])}
            for share in sorted(set(params["thresholds"]))
        ]
        wanted = {
            "usd": params["usd"],
            "month": True,
            "filter_tags": {key: str(value) for key, value in params["filter_tags"].items()},
            "mails": sorted(mail(params["mail"], share) for share in set(params["thresholds"])),
            # Other tags that it may carry are left alone
            "tags": before.get("tags", {}) | {key: str(value) for key, value in params["tags"].items()},
        }
    changed = wanted != before
    diff = {"before": before, "after": dict(wanted)}
    if changed and not module.check_mode:
        if wanted:
            budget.write(wanted | {"told": told}, before)
        else:
            budget.remove()
    module.exit_json(changed=changed, name=budget.name, usd=wanted.get("usd"), diff=diff)


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["absent", "present"], "default": "present"},
            "usd": {"type": "float"},
            "mail": {"type": "str"},
            "thresholds": {"type": "list", "elements": "int", "default": [50, 80, 100]},
            "filter_tags": {"type": "dict", "default": {}},
            "tags": {"type": "dict", "default": {}},
        },
        required_if=[("state", "present", ["usd", "mail"])],
        supports_check_mode=True,
    )
    if module.params["state"] == "present":
        if module.params["usd"] <= 0:
            module.fail_json(msg="A budget needs more than 0 USD; without one, say so with state: absent.")
        if "@" not in module.params["mail"]:
            module.fail_json(
                msg=f"A budget needs an address to write to, not {module.params['mail']!r}: nothing was done."
            )
    try:
        ensure(module)
    except (BotoCoreError, ClientError) as error:
        module.fail_json(msg=explain(error, module.region))


if __name__ == "__main__":
    main()
