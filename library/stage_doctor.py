#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: what is wrong with a stage, as far as AWS and this machine can tell."""

DOCUMENTATION = r"""
---
module: stage_doctor
short_description: Say what is wrong with a stage, and what to do
description:
  - Walks the chain from your credentials to the ports of the host, and goes on after whatever is wrong.
  - Reads only. It never fails for what it finds; see M(host_doctor) for what is found on the host itself.
author:
  - The Matinee authors
options:
  project:
    description: Value of the tag C(Project).
    type: str
    required: true
  stage:
    description: Value of the tag C(Stage).
    type: str
    required: true
  repository:
    description: Name of the ECR repository.
    type: str
    required: true
  image_tag:
    description: Tag of the image that the stage serves.
    type: str
    required: true
  parameters_path:
    description: Path of the app's variables in Parameter Store.
    type: str
    required: true
  required:
    description: Names of the variables that the app needs.
    type: list
    elements: str
    default: []
  optional:
    description: Names of the variables that the app can do without.
    type: list
    elements: str
    default: []
  domain:
    description: Name that leads to the stage; empty for none.
    type: str
    default: ""
  watch:
    description: Whether there are to be alarms.
    type: bool
    default: false
  session_manager:
    description: Whether the host is reached through Session Manager, not by ssh.
    type: bool
    default: false
notes:
  - Needs the rights that it tries; the check C(rights) names those that are missing.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Examine the demo
  stage_doctor:
    project: ragstream
    stage: demo
    repository: ragstream-web
    image_tag: latest
    parameters_path: /ragstream/demo/env
    required: [DEMO_TOKEN]
  register: examined
"""

RETURN = r"""
checks:
  description: What was looked at, in order.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description:
        - One of V(credentials), V(region), V(rights), V(repository), V(image), V(parameters), V(instance),
          V(address), V(alarms), V(ports) and V(agent), the last one where sessions lead to the host.
      type: str
      sample: image
    result:
      description: V(ok), V(warn), V(FAIL), or V(-) for what was not looked at.
      type: str
      sample: FAIL
    says:
      description: What was found, and what to do.
      type: str
      sample: nothing is tagged latest in ragstream-web -> push one with push.yml
"""

import contextlib
import socket
from collections.abc import Callable
from typing import Any

with contextlib.suppress(ImportError):  # AnsibleAWSModule reports a missing library
    from botocore.exceptions import BotoCoreError, ClientError

from ansible.module_utils.aws_errors import ACCESS_DENIED, explain, missing_right
from ansible.module_utils.checks import Checks
from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

Calls = list[tuple[str, str, dict[str, Any]]]  # service, operation, arguments

REFUSALS = {*ACCESS_DENIED, "AuthorizationError"}  # the last is SNS's
PORTS = {22: "SSH", 80: "the web", 443: "HTTPS"}
PORT_TIMEOUT = 5
SITE = "run site.yml"


class Stop(Exception):  # noqa: N818 - it is no error
    """Nothing that comes after can be looked at, for this reason."""


class Doctor:
    """Looks at one thing after the other, and writes down what it finds."""

    def __init__(self, module: AnsibleAWSModule) -> None:
        self.client: Callable[[str], Any] = module.client
        self.params: dict[str, Any] = module.params
        self.where = module.region
        self.name = f"{module.params['project']}-{module.params['stage']}"
        tags = {"Project": module.params["project"], "Stage": module.params["stage"], "ManagedBy": "matinee"}
        self.filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
        self.instance: dict[str, Any] = {}
        self.address = ""
        self.checks = Checks()

    def examine(self) -> Checks:
        """Look at everything, whatever is wrong on the way."""
        stopped = ""
        for name, look in CHAIN.items():
            if name == "agent" and not self.params["session_manager"]:
                continue
            if stopped:
                self.checks.skip(name, stopped)
                continue
            try:
                look(self)
            except Stop as stop:
                stopped = str(stop)
            except ClientError as error:
                if refused(error):
                    self.checks.skip(name, f"you lack {right_of(error)}")
                else:
                    self.checks.fail(name, explain(error, self.where), "mend that, and run this again")
            except BotoCoreError as error:
                self.checks.fail(name, explain(error, self.where), "mend that, and run this again")
        return self.checks

    def look_at_credentials(self) -> None:
        """Ask AWS who calls."""
        try:
            arn = self.client("sts").get_caller_identity()["Arn"]
        except (BotoCoreError, ClientError) as error:
            remedy = "sign in: AWS_PROFILE, AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, or `aws configure`"
            self.checks.fail("credentials", explain(error, self.where), remedy)
            raise Stop("AWS does not accept your credentials") from error
        self.checks.ok("credentials", f"you are {arn}")

    def look_at_rights(self) -> None:
        """Make the calls that playbooks look with; each may find nothing, but is to be allowed."""
        calls = reading_calls(self.params)
        lacking = []
        for service, operation, arguments in calls:
            try:
                getattr(self.client(service), operation)(**arguments)
            except ClientError as error:
                if refused(error):
                    lacking.append(right_of(error))
        if lacking:
            remedy = "add them to your policy; docs/permissions.md has what each playbook needs"
            self.checks.fail("rights", f"you lack {', '.join(lacking)}", remedy)
        else:
            self.checks.ok(
                "rights", f"all {len(calls)} calls that read are allowed; none that writes was tried"
            )

    def look_at_region(self) -> None:
        """See that the region is there."""
        try:
            zones = self.client("ec2").describe_availability_zones()["AvailabilityZones"]
        except ClientError as error:
            if refused(error):
                raise
            zones = []
        if not zones:
            remedy = "set region in the settings to one of AWS's that is switched on in your account"
            self.checks.fail("region", f"you cannot use {self.where}", remedy)
            raise Stop(f"there is no region {self.where}")
        self.checks.ok("region", f"{self.where} has {len(zones)} zones")

    def look_at_repository(self) -> None:
        """See that there is somewhere to push to."""
        name = self.params["repository"]
        try:
            self.client("ecr").describe_repositories(repositoryNames=[name])
        except is_boto3_error_code("RepositoryNotFoundException"):
            self.checks.fail("repository", f"there is no {name}", SITE)
        else:
            self.checks.ok("repository", f"{name} is there")

    def look_at_image(self) -> None:
        """See that there is something to serve."""
        name, tag = self.params["repository"], self.params["image_tag"]
        try:
            [image] = self.client("ecr").describe_images(repositoryName=name, imageIds=[{"imageTag": tag}])[
                "imageDetails"
            ]
        except is_boto3_error_code("RepositoryNotFoundException"):
            self.checks.skip("image", "there is no repository")
        except is_boto3_error_code("ImageNotFoundException"):
            self.checks.fail("image", f"nothing in {name} is tagged {tag}", "run push.yml")
        else:
            versions = " and ".join(sorted(set(image["imageTags"]) - {tag})) or image["imageDigest"]
            self.checks.ok("image", f"{tag} is {versions}, pushed {image['imagePushedAt']:%Y-%m-%d %H:%M}")

    def look_at_parameters(self) -> None:
        """Compare the names that are declared with those that are stored; no value is read."""
        path = self.params["parameters_path"]
        pages = (
            self.client("ssm")
            .get_paginator("describe_parameters")
            .paginate(ParameterFilters=[{"Key": "Path", "Option": "OneLevel", "Values": [path]}])
        )
        stored = {one["Name"].rpartition("/")[2] for page in pages for one in page["Parameters"]}
        needed, optional = set(self.params["required"]), set(self.params["optional"])
        if missing := needed - stored:
            remedy = "set its value in this shell if it is a secret, and run site.yml"
            self.checks.fail("parameters", f"{path} lacks {', '.join(sorted(missing))}", remedy)
        elif more := stored - needed - optional:
            remedy = "declare it in the settings, or site.yml removes it"
            self.checks.warn("parameters", f"{', '.join(sorted(more))} is stored but not declared", remedy)
        else:
            without = sorted(optional - stored)
            says = f"{len(stored)} stored, as declared{'; without ' + ', '.join(without) if without else ''}"
            self.checks.ok("parameters", says)

    def look_at_instance(self) -> None:
        """See in what state the machine is."""
        states = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}
        answer = self.client("ec2").describe_instances(Filters=[*self.filters, states])
        found = [instance for one in answer["Reservations"] for instance in one["Instances"]]
        if len(found) != 1:
            remedy = SITE if not found else "terminate all but one"
            self.checks.fail("instance", f"there are {len(found) or 'none'} of this stage", remedy)
            return
        [self.instance] = found
        identity, state = self.instance["InstanceId"], self.instance["State"]["Name"]
        if state != "running":
            says = f"{identity} is {state}"
            if state == "stopped":
                self.checks.ok("instance", f"{says}; demo-start.yml starts it")
            else:
                self.checks.warn("instance", says, "wait a minute")
            return
        since = f"{self.instance['LaunchTime']:%Y-%m-%d %H:%M} UTC"
        statuses = self.client("ec2").describe_instance_status(InstanceIds=[identity])["InstanceStatuses"]
        impaired = [
            key
            for one in statuses
            for key in ("SystemStatus", "InstanceStatus")
            if one[key]["Status"] == "impaired"
        ]
        if impaired:
            remedy = "run demo-stop.yml, then demo-start.yml: it comes up on other hardware"
            self.checks.fail("instance", f"AWS finds {identity} impaired ({', '.join(impaired)})", remedy)
        else:
            self.checks.ok("instance", f"{identity}, {self.instance['InstanceType']}, runs since {since}")

    def look_at_address(self) -> None:
        """See that the fixed address leads to the machine."""
        found = self.client("ec2").describe_addresses(Filters=self.filters)["Addresses"]
        if not found:
            self.checks.fail("address", "there is no Elastic IP of this stage", SITE)
            return
        self.address = found[0]["PublicIp"]
        if not self.instance:
            self.checks.warn("address", f"{self.address} leads to no machine, and costs the same", SITE)
        elif found[0].get("InstanceId") != self.instance["InstanceId"]:
            self.checks.fail("address", f"{self.address} does not lead to the machine", SITE)
        else:
            self.checks.ok("address", f"{self.address} leads to the machine")

    def look_at_alarms(self) -> None:
        """See whether something rings, and whether somebody would hear it."""
        if not self.params["watch"]:
            self.checks.skip("alarms", "watch is off in the settings")
            return
        alarms = self.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{self.name}/")["MetricAlarms"]
        ringing = [one for one in alarms if one["StateValue"] == "ALARM"]
        topics = {action for alarm in alarms for action in alarm["AlarmActions"]}
        pending = [
            one["Endpoint"]
            for topic in topics
            for one in self.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
            if one["SubscriptionArn"] == "PendingConfirmation"
        ]
        if not topics:
            self.checks.fail("alarms", "there are none", SITE)
        elif ringing:
            names = ", ".join(one["AlarmName"].removeprefix(f"{self.name}/") for one in ringing)
            self.checks.warn("alarms", f"ringing: {names}", ringing[0]["AlarmDescription"])
        elif pending:
            remedy = "click the link in the mail from AWS; when it is too old, run site.yml"
            self.checks.warn("alarms", f"{', '.join(pending)} is not confirmed, so no mail comes", remedy)
        else:
            self.checks.ok("alarms", f"{len(alarms)}, none of them rings")

    def look_at_ports(self) -> None:
        """See which ports of the machine answer, as seen from here."""
        if self.instance.get("State", {}).get("Name") != "running" or not self.address:
            self.checks.skip("ports", "no machine runs at the address")
            return
        unused = {22} if self.params["session_manager"] else set()
        unused |= set() if self.params["domain"] else {443}
        wanted = [port for port in PORTS if port not in unused]
        closed = [port for port in wanted if not answers(self.address, port)]
        if closed:
            names = " and ".join(f"{port} ({PORTS[port]})" for port in closed)
            remedy = "run site.yml if your own address or the security group has changed; wait after a start"
            self.checks.fail("ports", f"{self.address} does not answer at {names}", remedy)
        else:
            self.checks.ok("ports", f"{', '.join(map(str, wanted))} answer")

    def look_at_agent(self) -> None:
        """See whether Session Manager leads to the machine."""
        if self.instance.get("State", {}).get("Name") != "running":
            self.checks.skip("agent", "no machine runs")
            return
        identity = self.instance["InstanceId"]
        wanted = {"Key": "InstanceIds", "Values": [identity]}
        found = self.client("ssm").describe_instance_information(Filters=[wanted])["InstanceInformationList"]
        if any(one["PingStatus"] == "Online" for one in found):
            self.checks.ok("agent", f"Session Manager leads to {identity}")
        else:
            remedy = "demo-stop.yml and demo-start.yml; if it never was, destroy.yml and site.yml"
            self.checks.fail("agent", f"that of Session Manager on {identity} is not connected", remedy)


CHAIN: dict[str, Callable[[Doctor], None]] = {
    "credentials": Doctor.look_at_credentials,
    "region": Doctor.look_at_region,
    "rights": Doctor.look_at_rights,
    "repository": Doctor.look_at_repository,
    "image": Doctor.look_at_image,
    "parameters": Doctor.look_at_parameters,
    "instance": Doctor.look_at_instance,
    "address": Doctor.look_at_address,
    "alarms": Doctor.look_at_alarms,
    "ports": Doctor.look_at_ports,
    "agent": Doctor.look_at_agent,
}


def reading_calls(params: dict[str, Any]) -> Calls:
    """List the calls with which playbooks look at a stage."""
    repository, path = params["repository"], params["parameters_path"]
    calls: Calls = [
        ("ec2", "describe_availability_zones", {}),
        ("ec2", "describe_images", {"Owners": ["self"]}),
        ("ec2", "describe_instances", {}),
        ("ec2", "describe_volumes", {}),
        ("ec2", "describe_addresses", {}),
        ("ec2", "describe_security_groups", {}),
        ("ec2", "describe_key_pairs", {}),
        ("ecr", "describe_repositories", {"repositoryNames": [repository]}),
        ("ecr", "describe_images", {"repositoryName": repository}),
        ("ecr", "get_authorization_token", {}),
        ("ssm", "describe_parameters", {}),
        ("ssm", "get_parameters_by_path", {"Path": path}),
        ("iam", "list_users", {"MaxItems": 1}),
        ("iam", "list_roles", {"MaxItems": 1}),
        ("iam", "list_instance_profiles", {"MaxItems": 1}),
        ("s3", "list_buckets", {}),
        ("cloudwatch", "describe_alarms", {"MaxRecords": 1}),
        ("sns", "list_topics", {}),
        ("logs", "describe_log_groups", {"limit": 1}),
    ]
    if params["domain"]:
        calls.append(("route53", "list_hosted_zones", {"MaxItems": "1"}))
    return calls


def refused(error: ClientError) -> bool:
    """Tell whether a right is missing."""
    return error.response["Error"]["Code"] in REFUSALS


def right_of(error: ClientError) -> str:
    """Name the right that is missing."""
    return missing_right(str(error)) or error.operation_name


def answers(address: str, port: int) -> bool:
    """Tell whether somebody takes connections there."""
    try:
        with socket.create_connection((address, port), PORT_TIMEOUT):
            return True
    except OSError:
        return False


def main() -> None:
    """Run the module."""
    module = AnsibleAWSModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "stage": {"type": "str", "required": True},
            "repository": {"type": "str", "required": True},
            "image_tag": {"type": "str", "required": True},
            "parameters_path": {"type": "str", "required": True},
            "required": {"type": "list", "elements": "str", "default": []},
            "optional": {"type": "list", "elements": "str", "default": []},
            "domain": {"type": "str", "default": ""},
            "watch": {"type": "bool", "default": False},
            "session_manager": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, checks=Doctor(module).examine())


if __name__ == "__main__":
    main()
