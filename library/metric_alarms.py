#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the CloudWatch alarms of a stage."""

DOCUMENTATION = r"""
---
module: metric_alarms
short_description: Have exactly these CloudWatch alarms
description:
  - Makes the alarms whose names begin with a prefix exactly the declared ones. Each is made with its tags in
    one call, so that there is never one which does not say whose it is.
    M(amazon.aws.cloudwatch_metric_alarm) keeps one alarm at a time, and cannot tag it.
  - An alarm that is not declared is removed only if it carries O(tags).
  - While a metric has no data its alarm is at rest, so that a machine which is off raises none.
author:
  - The Matinee authors
options:
  prefix:
    description:
      - What the names of the alarms begin with. An alarm is called after it and its O(alarms[].name), with a
        slash between them.
    type: str
    required: true
  alarms:
    description: The alarms there are to be.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What is watched, in a word.
        type: str
        required: true
      description:
        description: What has happened when it rings, and what to do.
        type: str
        required: true
      namespace:
        description: Namespace of the metric.
        type: str
        required: true
      metric:
        description: Name of the metric.
        type: str
        required: true
      dimensions:
        description: Dimensions of the metric.
        type: dict
        default: {}
      statistic:
        description: What of the values in a period counts.
        type: str
        choices: [SampleCount, Average, Sum, Minimum, Maximum]
        required: true
      comparison:
        description: How that compares to the threshold when it rings.
        type: str
        choices:
          - GreaterThanOrEqualToThreshold
          - GreaterThanThreshold
          - LessThanThreshold
          - LessThanOrEqualToThreshold
        required: true
      threshold:
        description: The threshold.
        type: float
        required: true
      period:
        description: Seconds in a period.
        type: int
        required: true
      periods:
        description: How many periods are looked at.
        type: int
        required: true
      datapoints:
        description: How many of them have to be so; all of them, if not given.
        type: int
      fill:
        description:
          - The value of a period without data. If not given, CloudWatch goes by the periods that have some,
            and may look further back for them than O(alarms[].periods) says.
        type: float
  actions:
    description: ARNs of what is done when an alarm rings; a topic's, say.
    type: list
    elements: str
    default: []
  tags:
    description: Tags that each alarm must carry, and that say which alarms may be removed.
    type: dict
    required: true
notes:
  - Needs the rights C(cloudwatch:DescribeAlarms) and C(cloudwatch:ListTagsForResource), and for what is to be
    changed C(cloudwatch:PutMetricAlarm), C(cloudwatch:TagResource) and C(cloudwatch:DeleteAlarms).
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Ring when the disk is nearly full
  metric_alarms:
    prefix: ragstream-demo
    alarms:
      - name: disk
        description: The disk is nearly full.
        namespace: Matinee/ragstream-demo
        metric: DiskUsed
        statistic: Maximum
        comparison: GreaterThanThreshold
        threshold: 85
        period: 300
        periods: 2
      - name: on-all-day
        description: The machine has been on for a day.
        namespace: AWS/EC2
        metric: StatusCheckFailed
        dimensions:
          InstanceId: i-0b263919b6498b123
        statistic: SampleCount
        comparison: GreaterThanOrEqualToThreshold
        threshold: 30
        period: 3600
        periods: 24
        fill: 0
    actions: ["arn:aws:sns:eu-central-1:123456789012:ragstream-demo"]
    tags:
      Project: ragstream
      Stage: demo

- name: Remove them all
  metric_alarms:
    prefix: ragstream-demo
    tags:
      Project: ragstream
      Stage: demo
"""

RETURN = r"""
alarms:
  description:
    - What was done for each alarm; in check mode, what would be done.
    - V(created), V(updated), V(unchanged), V(removed) or V(kept) (not declared, without the tags).
  returned: success
  type: dict
  sample:
    ragstream-demo/disk: created
"""

import contextlib
from typing import Any

with contextlib.suppress(ImportError):  # AnsibleAWSModule reports a missing library
    from botocore.exceptions import BotoCoreError, ClientError

from ansible.module_utils.aws_errors import explain
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry, RetryingBotoClientWrapper
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)

Alarm = dict[str, Any]  # as PutMetricAlarm takes it and DescribeAlarms gives it
Tags = dict[str, str]

COMPARISONS = [
    "GreaterThanOrEqualToThreshold",
    "GreaterThanThreshold",
    "LessThanThreshold",
    "LessThanOrEqualToThreshold",
]
STATISTICS = ["SampleCount", "Average", "Sum", "Minimum", "Maximum"]


class Alarms:
    """The API calls on the alarms with one prefix."""

    def __init__(self, client: RetryingBotoClientWrapper, prefix: str) -> None:
        self.client = client
        self.prefix = prefix
        self.arns: dict[str, str] = {}

    @AWSRetry.jittered_backoff()
    def describe(self) -> dict[str, Alarm]:
        """Read the alarms there are, by name."""
        pages = self.client.get_paginator("describe_alarms").paginate(
            AlarmNamePrefix=f"{self.prefix}/", AlarmTypes=["MetricAlarm"]
        )
        found = {alarm["AlarmName"]: alarm for alarm in pages.build_full_result()["MetricAlarms"]}
        self.arns = {name: alarm["AlarmArn"] for name, alarm in found.items()}
        return found

    def tags(self, name: str) -> Tags:
        """Read the tags of an alarm that is there."""
        listed = self.client.list_tags_for_resource(ResourceARN=self.arns[name], aws_retry=True)
        return boto3_tag_list_to_ansible_dict(listed["Tags"])

    def put(self, alarm: Alarm, tags: Tags) -> None:
        """Make or change an alarm. AWS looks at the tags only when it makes one."""
        self.client.put_metric_alarm(**alarm, Tags=ansible_dict_to_boto3_tag_list(tags), aws_retry=True)

    def tag(self, name: str, tags: Tags) -> None:
        """Have an alarm carry tags beside others."""
        self.client.tag_resource(
            ResourceARN=self.arns[name], Tags=ansible_dict_to_boto3_tag_list(tags), aws_retry=True
        )

    def delete(self, names: list[str]) -> None:
        """Remove alarms; one that is gone already is no error."""
        self.client.delete_alarms(AlarmNames=names, aws_retry=True)


def declared(params: dict[str, Any]) -> dict[str, Alarm]:
    """Write the declared alarms as AWS does."""
    return {
        name: {
            "AlarmName": name,
            "AlarmDescription": alarm["description"],
            **measured(alarm),
            "ComparisonOperator": alarm["comparison"],
            "Threshold": alarm["threshold"],
            "EvaluationPeriods": alarm["periods"],
            "DatapointsToAlarm": alarm["datapoints"] or alarm["periods"],
            "TreatMissingData": "notBreaching",
            "ActionsEnabled": True,
            "AlarmActions": params["actions"],
        }
        for alarm in params["alarms"]
        for name in [f"{params['prefix']}/{alarm['name']}"]
    }


def measured(alarm: dict[str, Any]) -> Alarm:
    """Write what is looked at: a metric itself, or an expression which fills its gaps."""
    dimensions = [{"Name": str(key), "Value": str(value)} for key, value in alarm["dimensions"].items()]
    metric = {"Namespace": alarm["namespace"], "MetricName": alarm["metric"], "Dimensions": dimensions}
    if alarm["fill"] is None:
        return {**metric, "Statistic": alarm["statistic"], "Period": alarm["period"]}
    measure = {"Metric": metric, "Period": alarm["period"], "Stat": alarm["statistic"]}
    return {
        "Metrics": [
            {"Id": "filled", "Expression": f"FILL(measured, {alarm['fill']:g})", "ReturnData": True},
            {"Id": "measured", "MetricStat": measure, "ReturnData": False},
        ]
    }


def as_declared(found: object, wanted: object) -> bool:
    """Tell whether an alarm, or a part of one, is as declared, whatever else AWS says of it.

    Lists are compared in whatever order they are.
    """
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(as_declared(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        return len(found) == len(wanted) and all(any(as_declared(f, w) for f in found) for w in wanted)
    return found == wanted


def ensure(alarms: Alarms, wanted: dict[str, Alarm], tags: Tags, check_mode: bool) -> dict[str, str]:
    """Bring the alarms to what is declared; return what was done for each."""
    found = alarms.describe()
    done: dict[str, str] = {}
    for name, alarm in wanted.items():
        lacking = dict(tags.items() - alarms.tags(name).items()) if name in found else {}
        same = name in found and as_declared(found[name], alarm)
        done[name] = "created" if name not in found else "unchanged" if same and not lacking else "updated"
        if check_mode:
            continue
        if not same:
            alarms.put(alarm, tags)
        if lacking:
            alarms.tag(name, lacking)
    for name in found.keys() - wanted.keys():
        done[name] = "removed" if tags.items() <= alarms.tags(name).items() else "kept"
    removed = [name for name, action in done.items() if action == "removed"]
    if removed and not check_mode:
        alarms.delete(removed)
    return dict(sorted(done.items()))


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "prefix": {"type": "str", "required": True},
            "alarms": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "description": {"type": "str", "required": True},
                    "namespace": {"type": "str", "required": True},
                    "metric": {"type": "str", "required": True},
                    "dimensions": {"type": "dict", "default": {}},
                    "statistic": {"type": "str", "choices": STATISTICS, "required": True},
                    "comparison": {"type": "str", "choices": COMPARISONS, "required": True},
                    "threshold": {"type": "float", "required": True},
                    "period": {"type": "int", "required": True},
                    "periods": {"type": "int", "required": True},
                    "datapoints": {"type": "int"},
                    "fill": {"type": "float"},
                },
            },
            "actions": {"type": "list", "elements": "str", "default": []},
            "tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    client = module.client("cloudwatch", retry_decorator=AWSRetry.jittered_backoff())
    tags = {str(key): str(value) for key, value in module.params["tags"].items()}
    try:
        done = ensure(
            Alarms(client, module.params["prefix"]), declared(module.params), tags, module.check_mode
        )
    except (BotoCoreError, ClientError) as error:
        module.fail_json(msg=explain(error, module.region))
    before = {name: "there" for name, action in done.items() if action != "created"}
    module.exit_json(
        changed=not {"unchanged", "kept"}.issuperset(done.values()),
        alarms=done,
        diff={"before": before, "after": {name: "there" for name in done if done[name] != "removed"}},
    )


if __name__ == "__main__":
    main()
