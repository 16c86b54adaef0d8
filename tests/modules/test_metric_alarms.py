"""metric_alarms, against CloudWatch as the rehearsal has it."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.modules.running import Client, RunModule

TAGS = {"Project": "ragstream", "Stage": "demo"}
DISK = {
    "name": "disk",
    "description": "The disk is nearly full.",
    "namespace": "Matinee",
    "metric": "DiskUsed",
    "dimensions": {"b": "2", "a": "1"},
    "statistic": "Maximum",
    "comparison": "GreaterThanThreshold",
    "threshold": 85,
    "period": 300,
    "periods": 2,
}
ON = DISK | {"name": "still-on", "statistic": "SampleCount", "periods": 24, "fill": 0, "datapoints": 20}
TOPIC = "arn:aws:sns:eu-central-1:123456789012:topic"


@pytest.fixture
def prefix(aws: Client) -> Iterator[str]:
    """What no alarm's name begins with yet; whatever does in the end is removed."""
    prefix = f"test-{uuid.uuid4().hex[:8]}"
    yield prefix
    aws("cloudwatch").delete_alarms(AlarmNames=list(found(aws, prefix)))


def found(aws: Client, prefix: str) -> dict[str, Any]:
    """Return the alarms there are, and their tags."""
    cloudwatch = aws("cloudwatch")
    alarms = cloudwatch.describe_alarms(AlarmNamePrefix=prefix)["MetricAlarms"]
    return {
        alarm["AlarmName"]: alarm
        | {"Tags": cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]}
        for alarm in alarms
    }


def options(prefix: str, *alarms: dict[str, Any], **others: Any) -> dict[str, Any]:
    """Return what the module is given."""
    return {"prefix": prefix, "alarms": list(alarms), "actions": [TOPIC], "tags": TAGS} | others


def test_made_as_declared_with_tags_and_then_left_alone(
    run_module: RunModule, aws: Client, prefix: str
) -> None:
    predicted = run_module("metric_alarms", options(prefix, DISK), check=True)
    assert predicted.result["alarms"] == {f"{prefix}/disk": "created"}
    assert not found(aws, prefix)

    assert run_module("metric_alarms", options(prefix, DISK)).changed
    [alarm] = found(aws, prefix).values()
    assert (alarm["AlarmDescription"], alarm["AlarmActions"]) == ("The disk is nearly full.", [TOPIC])
    assert (alarm["Period"], alarm["EvaluationPeriods"], alarm["Threshold"]) == (300, 2, 85)
    assert (alarm["TreatMissingData"], alarm["ActionsEnabled"]) == ("notBreaching", True)
    assert {tag["Key"]: tag["Value"] for tag in alarm["Tags"]} == TAGS
    assert not run_module("metric_alarms", options(prefix, DISK)).changed


def test_periods_without_data_count_where_that_is_declared(
    run_module: RunModule, aws: Client, prefix: str
) -> None:
    run_module("metric_alarms", options(prefix, ON | {"fill": None, "datapoints": None}))
    [alarm] = found(aws, prefix).values()
    assert (alarm["EvaluationPeriods"], alarm["DatapointsToAlarm"]) == (24, 24)
    for check in (True, False):
        done = run_module("metric_alarms", options(prefix, ON), check=check)
        assert done.result["alarms"] == {f"{prefix}/still-on": "updated"}
    [alarm] = found(aws, prefix).values()
    assert (alarm["EvaluationPeriods"], alarm["DatapointsToAlarm"]) == (24, 20)
    assert not alarm.keys() & {"MetricName", "Namespace", "Statistic", "Period"}
    [rings] = [one for one in alarm["Metrics"] if one["ReturnData"]]
    [measured] = [one for one in alarm["Metrics"] if not one["ReturnData"]]
    assert rings["Expression"] == f"FILL({measured['Id']}, 0)"
    stat = measured["MetricStat"]
    assert (stat["Metric"]["MetricName"], stat["Stat"], stat["Period"]) == ("DiskUsed", "SampleCount", 300)
    assert {one["Name"]: one["Value"] for one in stat["Metric"]["Dimensions"]} == DISK["dimensions"]
    assert not run_module("metric_alarms", options(prefix, ON)).changed

    for other in ({"dimensions": {"a": "2", "b": "2"}}, {"fill": 1}, {"fill": None}):
        assert run_module("metric_alarms", options(prefix, ON | other), check=True).changed


def test_what_differs_is_changed_and_what_is_not_declared_goes(
    run_module: RunModule, aws: Client, prefix: str
) -> None:
    memory = DISK | {"name": "memory", "metric": "MemoryUsed"}
    run_module("metric_alarms", options(prefix, DISK, memory))
    changed = run_module("metric_alarms", options(prefix, DISK | {"threshold": 90}, tags=TAGS | {"New": "1"}))
    # Its tags are not those that are said now, so it is somebody else's
    assert changed.result["alarms"] == {f"{prefix}/disk": "updated", f"{prefix}/memory": "kept"}
    assert found(aws, prefix)[f"{prefix}/disk"]["Threshold"] == 90
    assert {"Key": "New", "Value": "1"} in found(aws, prefix)[f"{prefix}/disk"]["Tags"]

    predicted = run_module("metric_alarms", options(prefix), check=True)
    assert predicted.result["alarms"] == {f"{prefix}/disk": "removed", f"{prefix}/memory": "removed"}
    assert len(found(aws, prefix)) == 2
    assert run_module("metric_alarms", options(prefix)).changed
    assert not found(aws, prefix)
    assert not run_module("metric_alarms", options(prefix)).changed


def test_alarms_of_others_are_left_alone(run_module: RunModule, aws: Client, prefix: str) -> None:
    others = {"MetricName": "M", "Namespace": "N", "ComparisonOperator": "GreaterThanThreshold"}
    figures = {"Period": 60, "EvaluationPeriods": 1, "Threshold": 1, "Statistic": "Maximum"}
    for name in (f"{prefix}/by-hand", f"{prefix}-2/disk"):
        aws("cloudwatch").put_metric_alarm(AlarmName=name, **others, **figures)
    done = run_module("metric_alarms", options(prefix))
    assert done.result["alarms"] == {f"{prefix}/by-hand": "kept"}
    assert not done.changed
    assert set(found(aws, prefix)) == {f"{prefix}/by-hand", f"{prefix}-2/disk"}


def test_refusal_names_the_right(run_module: RunModule, prefix: str, as_user: Any) -> None:
    allowed = {"Effect": "Allow", "Action": "cloudwatch:DescribeAlarms", "Resource": "*"}
    refused = run_module("metric_alarms", options(prefix, DISK), environment=as_user([allowed]))
    assert refused.failed
    assert "cloudwatch:PutMetricAlarm" in refused.message
