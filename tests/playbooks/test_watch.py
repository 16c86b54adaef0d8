"""A stage that is watched: its alarms, its figures and logs in CloudWatch, and what doctor.yml says of it."""

import re
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import ROOT, Checkout, Run, words
from tests.local_aws import Rehearsal, cloudwatch_down

DOMAIN = "watched.example"
GROUP = "/ragstream/demo"
MAIL = "ann@example.org"
TAGS = {"Project": "ragstream", "Stage": "demo", "ManagedBy": "matinee"}
PATIENCE = 240  # seconds; what is waited for comes within 60


@pytest.fixture(scope="module")
def stage(checkout: Checkout) -> Checkout:
    """A stage with a small app, a secret, and everything watched."""
    shutil.copytree(ROOT / "tests/apps/faulty", checkout.path / "small")
    checkout.settings(
        app_context="small",
        app_dockerfile="",
        app_memory="64m",
        app_secrets={"DEMO_TOKEN": "{{ lookup('ansible.builtin.env', 'DEMO_TOKEN') }}"},
        app_optional_secrets=[],
        watch=True,
        watch_hours=5,
        notify_email=MAIL,
        logs_days=7,
    )
    checkout.environment["DEMO_TOKEN"] = "a-secret"
    checkout.commit("A small app")
    return checkout


def until(what: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(1)


def tags_of(listed: list[dict[str, str]]) -> dict[str, str]:
    """Return tags as a dictionary."""
    return {tag["Key"]: tag["Value"] for tag in listed}


def lines_of(rehearsal: Rehearsal, stream: str) -> str:
    """Return what a stream of the log group holds."""
    logs = rehearsal.boto("logs")
    try:
        found = logs.get_log_events(logGroupName=GROUP, logStreamName=stream, startFromHead=True, limit=10000)
    except logs.exceptions.ResourceNotFoundException:
        return ""
    return "\n".join(event["message"] for event in found["events"])


def latest(rehearsal: Rehearsal, figure: str) -> float:
    """Return the greatest value of a figure lately; -1 without one."""
    now = datetime.now(UTC)
    found = rehearsal.boto("cloudwatch").get_metric_statistics(
        Namespace="Matinee/ragstream-demo",
        MetricName=figure,
        StartTime=now - timedelta(minutes=5),
        EndTime=now + timedelta(minutes=1),
        Period=60,
        Statistics=["Maximum"],
    )
    return max((point["Maximum"] for point in found["Datapoints"]), default=-1)


def diagnosis(run: Run) -> dict[str, tuple[str, str]]:
    """Return the lines of doctor.yml: of each check its result, and what it says."""
    lines = re.findall(r"^ {8}(ok|warn|FAIL|-) +([a-z]+) +(.+)$", run.output, re.MULTILINE)
    assert len({name for _, name, _ in lines}) == len(lines) > 8, run.output
    return {name: (result, says) for result, name, says in lines}


def results(run: Run) -> dict[str, str]:
    """Return the result of each check."""
    return {name: result for name, (result, _) in diagnosis(run).items()}


def test_doctor_says_what_is_missing_where_nothing_is(stage: Checkout) -> None:
    run = stage.play("doctor.yml")
    assert run.status != 0
    found = diagnosis(run)
    assert found["credentials"][0] == found["rights"][0] == "ok"
    assert found["repository"] == ("FAIL", "there is no ragstream-web -> run site.yml")
    assert found["parameters"][0] == found["instance"][0] == found["address"][0] == "FAIL"
    assert found["host"][0] == "-"


def test_alarms_reach_somebody_and_are_as_declared(rehearsal: Rehearsal, stage: Checkout) -> None:
    run = stage.passes("site.yml")
    assert f"AWS has sent a mail to {MAIL}. Click its link" in words(run.output)

    [instance] = rehearsal.boto("ec2").describe_instances()["Reservations"][0]["Instances"]
    cloudwatch, sns, logs = map(rehearsal.boto, ("cloudwatch", "sns", "logs"))
    alarms: dict[str, Any] = {
        alarm["AlarmName"].removeprefix("ragstream-demo/"): alarm
        for alarm in cloudwatch.describe_alarms()["MetricAlarms"]
    }
    assert set(alarms) == {"status-check", "still-on", "cpu-credits", "disk", "memory", "app"}
    [topic] = sns.list_topics()["Topics"]
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == [topic["TopicArn"]]
        assert alarm["TreatMissingData"] == "notBreaching"
        assert alarm["AlarmDescription"]
        tags = cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]
        assert tags_of(tags) == TAGS
    # An hour that the machine is off starts the count anew: CloudWatch would pass over it
    on = {one["Id"]: one for one in alarms["still-on"]["Metrics"]}
    assert on["filled"]["Expression"] == "FILL(measured, 0)"
    assert (on["filled"]["ReturnData"], on["measured"]["ReturnData"]) == (True, False)
    measured = on["measured"]["MetricStat"]
    assert (measured["Period"], alarms["still-on"]["EvaluationPeriods"]) == (3600, 6)
    assert alarms["still-on"]["DatapointsToAlarm"] == 6
    of_instance = [{"Name": "InstanceId", "Value": instance["InstanceId"]}]
    for metric in (alarms["status-check"], measured["Metric"], alarms["cpu-credits"]):
        assert metric["Dimensions"] == of_instance
    assert (alarms["app"]["DatapointsToAlarm"], alarms["app"]["EvaluationPeriods"]) == (8, 10)
    assert (alarms["disk"]["Namespace"], alarms["disk"]["MetricName"]) == (
        "Matinee/ragstream-demo",
        "DiskUsed",
    )
    assert tags_of(sns.list_tags_for_resource(ResourceArn=topic["TopicArn"])["Tags"]) == TAGS
    [subscription] = sns.list_subscriptions_by_topic(TopicArn=topic["TopicArn"])["Subscriptions"]
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", MAIL)
    [group] = logs.describe_log_groups()["logGroups"]
    assert (group["logGroupName"], group["retentionInDays"]) == (GROUP, 7)
    assert stage.passes("playbooks/provision.yml").changed == 0


def test_doctor_knows_a_stage_without_an_image(stage: Checkout) -> None:
    run = stage.play("doctor.yml")
    assert run.status != 0
    found = diagnosis(run)
    assert found["image"] == ("FAIL", "nothing in ragstream-web is tagged latest -> run push.yml")
    assert found["container"][0] == "FAIL"
    assert "No image has been pushed" in found["container"][1]
    assert found["alarms"][0] == "warn"
    assert f"{MAIL} is not confirmed" in found["alarms"][1]
    assert {name for name, (result, _) in found.items() if result == "FAIL"} == {
        *("image", "container", "health")
    }


def test_doctor_finds_nothing_wrong(rehearsal: Rehearsal, stage: Checkout) -> None:
    stage.passes("push.yml")
    stage.passes("demo-start.yml")
    sns = rehearsal.boto("sns")
    sns.confirm_subscription(TopicArn=sns.list_topics()["Topics"][0]["TopicArn"], Token="of-the-mail")
    run = stage.passes("doctor.yml")
    assert run.changed == 0
    assert set(results(run).values()) == {"ok", "-"}
    assert {name for name, result in results(run).items() if result == "-"} == {"dns", "tls"}


def test_figures_and_logs_arrive(rehearsal: Rehearsal) -> None:
    until(lambda: latest(rehearsal, "AppHealthy") == 1)
    assert 0 < latest(rehearsal, "DiskUsed") < 100
    assert 0 < latest(rehearsal, "MemoryUsed") < 100
    until(lambda: "serving: " in lines_of(rehearsal, "launcher"))
    rehearsal.on_host("curl --silent http://127.0.0.1/once-seen?of=nobody > /dev/null")
    until(lambda: "once-seen" in lines_of(rehearsal, "proxy"))
    assert "of=nobody" not in lines_of(rehearsal, "proxy")
    assert "a-secret" not in "".join(lines_of(rehearsal, stream) for stream in ("app", "launcher", "proxy"))


def test_host_may_tell_of_itself_and_no_more(rehearsal: Rehearsal) -> None:
    answers = rehearsal.allowed_to_host(
        """
names = ("cloudwatch", "logs", "sns")
cloudwatch, logs, sns = (client(name) for name in names)
data = [{"MetricName": "DiskUsed", "Value": 1}]
ask(cloudwatch.put_metric_data, Namespace="Matinee/ragstream-demo", MetricData=data)
ask(cloudwatch.put_metric_data, Namespace="Matinee/ragstream-staging", MetricData=data)
ask(cloudwatch.describe_alarms)
ask(cloudwatch.delete_alarms, AlarmNames=["ragstream-demo/disk"])
ask(logs.create_log_stream, logGroupName="/ragstream/demo", logStreamName="app-too")
ask(logs.create_log_stream, logGroupName="/ragstream/staging", logStreamName="app")
ask(logs.get_log_events, logGroupName="/ragstream/demo", logStreamName="app")
ask(logs.delete_log_group, logGroupName="/ragstream/demo")
ask(sns.list_topics)
        """
    )
    assert answers == [
        *["allowed", "refused", "refused", "refused"],
        *["allowed", "refused", "refused", "refused", "refused"],
    ]


def test_nothing_is_lost_while_cloudwatch_is_away(rehearsal: Rehearsal) -> None:
    ask = "curl --silent --output /dev/null --write-out '%{http_code}' http://127.0.0.1"
    with cloudwatch_down(rehearsal):
        assert rehearsal.on_host(f"{ask}/while-away") == "200"
        said = "journalctl --boot --unit=matinee-watch --output=cat"
        until(lambda: "lines of proxy: " in rehearsal.on_host(said))
        assert rehearsal.on_host(f"{ask}/health") == "200"
        # What it has not sent when it ends, it sends when it is back
        rehearsal.on_host("systemctl stop matinee-watch")
    assert "while-away" not in lines_of(rehearsal, "proxy")
    rehearsal.on_host("systemctl start matinee-watch")
    until(lambda: "while-away" in lines_of(rehearsal, "proxy"))
    assert lines_of(rehearsal, "proxy").count("once-seen") == 1


def test_doctor_names_each_fault_and_its_remedy(rehearsal: Rehearsal, stage: Checkout) -> None:
    rehearsal.boto("ssm").delete_parameter(Name="/ragstream/demo/env/DEMO_TOKEN")
    rehearsal.boto("cloudwatch").set_alarm_state(
        AlarmName="ragstream-demo/disk", StateValue="ALARM", StateReason="a test"
    )
    route53 = rehearsal.boto("route53")
    zone = route53.create_hosted_zone(Name=DOMAIN, CallerReference=DOMAIN)["HostedZone"]["Id"]
    record = {"Name": DOMAIN, "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "192.0.2.1"}]}
    changes = [{"Action": "UPSERT", "ResourceRecordSet": record}]
    route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": changes})
    rehearsal.on_host("systemctl stop matinee-app matinee-watch")
    run = stage.play("doctor.yml", "-e", f"app_domain={DOMAIN}")
    rehearsal.on_host("systemctl start matinee-app matinee-watch")
    route53.change_resource_record_sets(
        HostedZoneId=zone, ChangeBatch={"Changes": [{"Action": "DELETE", "ResourceRecordSet": record}]}
    )
    route53.delete_hosted_zone(Id=zone)

    assert run.status != 0
    found = diagnosis(run)
    assert found["parameters"][0] == "FAIL"
    assert "lacks DEMO_TOKEN -> set its value in this shell" in found["parameters"][1]
    assert found["alarms"][0] == "warn"
    assert "ringing: disk" in found["alarms"][1]
    assert found["ports"][0] == "FAIL"
    assert "does not answer at 443 (HTTPS)" in found["ports"][1]
    assert found["dns"][0] == "FAIL"
    assert f"{DOMAIN} leads to 192.0.2.1 -> make its A record " in found["dns"][1]
    assert found["tls"][0] == "FAIL"
    assert "demo-start.yml, which asks for one" in found["tls"][1]
    assert found["container"][0] == "FAIL"
    assert "the launcher is inactive" in found["container"][1]
    assert found["health"] == (
        "FAIL",
        "/health answers 503 -> logs.yml says what the app says; rollback.yml brings the version before back",
    )
    assert found["cloudwatch"] == ("FAIL", "the program that tells it is inactive -> run site.yml")
    # The others are as they were
    assert {found[name][0] for name in ("credentials", "image", "instance", "address", "disk")} == {"ok"}


def test_doctor_knows_wrong_credentials(stage: Checkout, tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.write_text(
        "[rehearsal]\naws_access_key_id=AKIAIOSFODNN7EXAMPLE\naws_secret_access_key=none\n"
    )
    environment = stage.environment | {"AWS_SHARED_CREDENTIALS_FILE": str(credentials)}
    run = stage.play("doctor.yml", environment=environment)
    assert run.status != 0
    found = diagnosis(run)
    assert found["credentials"][0] == "FAIL"
    assert "sign in: AWS_PROFILE" in found["credentials"][1]
    del found["credentials"]
    assert {result for result, _ in found.values()} == {"-"}


def test_doctor_names_the_right_that_is_missing(rehearsal: Rehearsal, stage: Checkout) -> None:
    iam = rehearsal.boto("iam")
    denied = """{"Version": "2012-10-17", "Statement": [
        {"Effect": "Deny", "Action": ["ecr:DescribeImages", "sns:*"], "Resource": "*"}]}"""
    iam.put_user_policy(UserName="administrator", PolicyName="fault", PolicyDocument=denied)
    try:
        run = stage.play("doctor.yml")
    finally:
        iam.delete_user_policy(UserName="administrator", PolicyName="fault")
    assert run.status != 0
    found = diagnosis(run)
    assert found["rights"][0] == "FAIL"
    assert "ecr:DescribeImages" in found["rights"][1]
    assert "sns:ListTopics" in found["rights"][1]
    assert "add them to your policy" in found["rights"][1]
    assert found["image"][0] == "-"
    assert "you lack ecr:DescribeImages" in found["image"][1]
    assert found["instance"][0] == "ok"


def test_doctor_of_a_stage_that_is_off(rehearsal: Rehearsal, stage: Checkout) -> None:
    rehearsal.boto("ssm").put_parameter(
        Name="/ragstream/demo/env/DEMO_TOKEN",
        Value="a-secret",
        Type="SecureString",
        Tags=[{"Key": key, "Value": value} for key, value in TAGS.items()],
    )
    stage.passes("demo-stop.yml")
    run = stage.passes("doctor.yml")
    found = diagnosis(run)
    assert found["instance"][0] == "ok"
    assert "is stopped; demo-start.yml starts it" in found["instance"][1]
    assert (found["ports"][0], found["host"][0]) == ("-", "-")
    assert "container, health and disk were not looked at" in found["host"][1]


def test_watching_switched_off_leaves_nothing(rehearsal: Rehearsal, stage: Checkout) -> None:
    stage.settings(watch=False)
    stage.passes("playbooks/provision.yml")
    assert not rehearsal.boto("cloudwatch").describe_alarms()["MetricAlarms"]
    assert not rehearsal.boto("sns").list_topics()["Topics"]
    document = rehearsal.boto("iam").get_role_policy(
        RoleName="ragstream-demo-host", PolicyName="serve-the-app"
    )
    actions = str(document["PolicyDocument"])
    assert "cloudwatch:PutMetricData" not in actions
    assert "logs:PutLogEvents" in actions


def test_all_of_it_goes_with_the_stage(rehearsal: Rehearsal, stage: Checkout) -> None:
    cloudwatch, sns, logs = map(rehearsal.boto, ("cloudwatch", "sns", "logs"))
    listed = [{"Key": key, "Value": value} for key, value in TAGS.items()]
    # As if switching it off had been interrupted
    sns.create_topic(Name="ragstream-demo", Tags=listed)
    cloudwatch.put_metric_alarm(
        AlarmName="ragstream-demo/disk",
        Namespace="Matinee/ragstream-demo",
        MetricName="DiskUsed",
        Statistic="Maximum",
        ComparisonOperator="GreaterThanThreshold",
        Threshold=85,
        Period=300,
        EvaluationPeriods=2,
        Tags=listed,
    )
    run = stage.passes("destroy.yml", "-e", "confirm=ragstream-demo", "-e", "delete_data=true")
    for kind, name in (("alarm", "ragstream-demo/disk"), ("topic", "ragstream-demo"), ("log-group", GROUP)):
        assert f"{kind}  {name}" in run.output
    assert not cloudwatch.describe_alarms()["MetricAlarms"]
    assert not sns.list_topics()["Topics"]
    assert not logs.describe_log_groups()["logGroups"]
