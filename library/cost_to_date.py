#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: what this month has cost so far."""

DOCUMENTATION = r"""
---
module: cost_to_date
short_description: Ask Cost Explorer what this month has cost so far
description:
  - Asks AWS Cost Explorer for the unblended cost of the current month of what carries certain tags. Its
    figures are about a day behind.
  - AWS takes 0.01 USD for each question. There is one, and a second when the answer is 0 USD, which is also
    what Cost Explorer says of tags that have not been activated as cost allocation tags.
  - Where it does not answer the caller, the module says so in RV(note) and does not fail.
author:
  - The Matinee authors
options:
  tags:
    description: What carries all of these tags is counted.
    type: dict
    required: true
notes:
  - Needs the rights C(ce:GetCostAndUsage) and C(ce:ListCostAllocationTags). In an account that has not given
    its IAM users access to billing, AWS refuses them whatever their policies say.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: What the stage has cost this month
  cost_to_date:
    tags:
      Project: ragstream
      Stage: demo
  register: cost
"""

RETURN = r"""
usd:
  description: What the month has cost so far, none where that is not known.
  returned: success
  type: float
  sample: 4.2
note:
  description: Why it is not known, and what to do about it; empty where it is.
  returned: success
  type: str
"""

import contextlib
import datetime
from decimal import Decimal

with contextlib.suppress(ImportError):  # AnsibleAWSModule reports a missing library
    from botocore.exceptions import BotoCoreError, ClientError

from ansible.module_utils.aws_errors import explain
from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry, RetryingBotoClientWrapper

METRIC = "UnblendedCost"
INACTIVE = (
    "Cost Explorer does not count by {tags} yet. Activate them, once for the account, in Billing and Cost "
    "Management under Cost allocation tags; they are listed about a day after their first use, and count "
    "from then on."
)


def spent(client: RetryingBotoClientWrapper, tags: dict[str, str]) -> Decimal:
    """Ask for the cost from the first of the month to the end of today."""
    today = datetime.datetime.now(datetime.UTC).date()
    conditions = [{"Tags": {"Key": key, "Values": [value]}} for key, value in sorted(tags.items())]
    answer = client.get_cost_and_usage(
        TimePeriod={
            "Start": today.replace(day=1).isoformat(),
            "End": (today + datetime.timedelta(days=1)).isoformat(),
        },
        Granularity="MONTHLY",
        Metrics=[METRIC],
        Filter=conditions[0] if len(conditions) == 1 else {"And": conditions},
        aws_retry=True,
    )
    return sum((Decimal(month["Total"][METRIC]["Amount"]) for month in answer["ResultsByTime"]), Decimal(0))


def inactive(client: RetryingBotoClientWrapper, tags: dict[str, str]) -> list[str]:
    """Name the tags that Cost Explorer does not count by."""
    found = client.list_cost_allocation_tags(TagKeys=sorted(tags), Status="Active", aws_retry=True)
    return sorted(tags.keys() - {tag["TagKey"] for tag in found["CostAllocationTags"]})


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={"tags": {"type": "dict", "required": True}}, supports_check_mode=True
    )
    tags = {key: str(value) for key, value in module.params["tags"].items()}
    client = module.client("ce", retry_decorator=AWSRetry.jittered_backoff())
    usd, note = None, ""
    try:
        usd = spent(client, tags)
        if not usd and (missing := inactive(client, tags)):
            usd, note = None, INACTIVE.format(tags=" and ".join(missing))
    except is_boto3_error_code("DataUnavailableException"):
        note = "Cost Explorer has no figures yet. Open it once in AWS's console; it has some a day later."
    except (BotoCoreError, ClientError) as error:
        note = explain(error, module.region)
    module.exit_json(changed=False, usd=None if usd is None else round(float(usd), 2), note=note)


if __name__ == "__main__":
    main()
