"""Which rights each playbook needs of its owner: recorded in a rehearsal, written to docs/permissions.md.

`make permissions` runs every playbook and writes the page. Tests read the policy back from it, and do with it
what an owner does.
"""

import json
import re
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.by_hand import make_machine, make_things
from tests.checkout import Checkout, make_checkout
from tests.interrupt import signs_of_life
from tests.local_aws import ROOT, Rehearsal, free_port, standing

PAGE = ROOT / "docs/permissions.md"
ISSUER = "token.actions.githubusercontent.com"
GITHUB = "octocat@123456/my-repo@456789"
OIDC = ("-e", "cloud_identity_ci=oidc", "-e", f"github_repository={GITHUB}")
WATCHED = json.dumps(
    {
        "watch": True,
        "notify_email": "owner@example.org",
        "logs_days": 7,
        "budget_usd": 20,
        "cost_explorer": True,
    }
)
BY_SESSION = ("-e", json.dumps({"session_manager": True}))
DOMAIN = "demo.example.org"
CONFIRMED = ("-e", "confirm=ragstream-demo")
STAGES = {"staging": ["repository"], "live": []}  # besides demo, whose repository the first shares
STAGING_CONFIRMED = ("-e", "confirm=ragstream-staging")
# A managed policy's document may have so many characters, blanks not counted (IAM's quotas)
MOST = 6144

# What a resource is called in the policy: what a stage's resources have in common
NAMES = (
    (r"(arn:aws:iam::\d+:(?:role|instance-profile))/ragstream-.*", r"\1/ragstream-*"),
    (r"(arn:aws:iam::\d+:user)/github-ragstream-.*", r"\1/github-ragstream-*"),
    (r"(arn:aws:ecr:[^:]*:\d+:repository)/ragstream-.*", r"\1/ragstream-*"),
    (r"(arn:aws:ssm:[^:]*:\d+:parameter)/ragstream/.*", r"\1/ragstream/*"),
    (r"(arn:aws:logs:[^:]*:\d+:log-group:/ragstream)/.*", r"\1/*"),
    (r"(arn:aws:ec2:[^:]*:\d+:instance)/.*", r"\1/*"),
    (r"(arn:aws:ssm:[^:]*:\d+:session)/.*", r"\1/*"),
    (r"(arn:aws:ssm:[^:]*:\d+:document/SSM-SessionManagerRunShell)", r"\1"),
    (r"(arn:aws:route53:::hostedzone)/.*", r"\1/*"),
    (r"(arn:aws:s3:::)ragstream-.*", r"\1ragstream-*"),
)

SHELL = "document/SSM-SessionManagerRunShell"  # it has no tags that could be asked for
CONDITIONS = {
    "iam:PassRole": {"iam:PassedToService": "ec2.amazonaws.com"},
    "ssm:StartSession": {"ssm:resourceTag/ManagedBy": "matinee"},
}

Asked = dict[str, set[str]]  # resources by action

INTRODUCTION = """\
# The rights each playbook needs

What you do with Matinee, you do with your own rights. These are all that its playbooks asked AWS for when
each was run in the rehearsal, which decides every request as IAM does; `make permissions` runs them again and
writes this page. Tests set a stage up, serve, take over what exists, change keys and destroy with exactly the
policy below. "Adopting" takes over a repository, a user, a parameter, an address and a machine.

CI needs far less, and the host too: `roles/cloud_identity/vars/main.yml` has the policies of both.
"""
POLICY = """
## A policy with all of them

For the names of the defaults: replace `123456789012` by your account, `ragstream` by your `project` if it has
another name, and the region. Save it as `policy.json`, then

```sh
aws iam create-policy --policy-name matinee --policy-document file://policy.json
```

Who has it can give a role named `ragstream-*` any right, and a machine that role. So give it to people whom
you trust with the account.
"""


@contextmanager
def as_owner(rehearsal: Rehearsal, folder: Path, policy: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The environment of somebody who has this policy, of the kind that people make, and nothing else."""
    iam, name = rehearsal.boto("iam"), "owner"
    arn = iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(policy))["Policy"]["Arn"]
    iam.create_user(UserName=name)
    iam.attach_user_policy(UserName=name, PolicyArn=arn)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    file = folder / "owner-credentials"
    file.write_text(
        f"[{rehearsal.env['AWS_PROFILE']}]\n"
        f"aws_access_key_id={key['AccessKeyId']}\naws_secret_access_key={key['SecretAccessKey']}\n"
    )
    try:
        yield rehearsal.env | {"AWS_SHARED_CREDENTIALS_FILE": str(file)}
    finally:
        iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
        iam.detach_user_policy(UserName=name, PolicyArn=arn)
        iam.delete_user(UserName=name)
        iam.delete_policy(PolicyArn=arn)


@contextmanager
def others(rehearsal: Rehearsal) -> Iterator[None]:
    """What an account has besides, which some playbooks look at to know that it is not theirs."""
    nobody = json.dumps({"Version": "2012-10-17", "Statement": []})
    name, url = "somebody-elses", "https://tokens.example.org"
    iam, ecr, sns, logs = map(rehearsal.boto, ("iam", "ecr", "sns", "logs"))
    with ExitStack() as cleanup:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=nobody)
        cleanup.callback(iam.delete_role, RoleName=name)
        iam.create_instance_profile(InstanceProfileName=name)
        cleanup.callback(iam.delete_instance_profile, InstanceProfileName=name)
        provider = iam.create_open_id_connect_provider(Url=url)["OpenIDConnectProviderArn"]
        cleanup.callback(iam.delete_open_id_connect_provider, OpenIDConnectProviderArn=provider)
        ecr.create_repository(repositoryName=name)
        cleanup.callback(ecr.delete_repository, repositoryName=name)
        topic = sns.create_topic(Name=name)["TopicArn"]
        cleanup.callback(sns.delete_topic, TopicArn=topic)
        logs.create_log_group(logGroupName=name)
        cleanup.callback(logs.delete_log_group, logGroupName=name)
        yield


def published_policy() -> dict[str, Any]:
    """The policy of the page."""
    [block] = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return dict(json.loads(block))


def small_app(checkout: Checkout, **settings: object) -> None:
    """Have the checkout carry an app that is quick to build, and takes its mode from a parameter."""
    shutil.copytree(ROOT / "tests/apps/faulty", checkout.path / "small")
    checkout.settings(
        app_context="small",
        app_dockerfile="",
        app_memory="64m",
        app_health_timeout=10,
        app_secrets={"MODE": "{{ lookup('ansible.builtin.env', 'MODE') }}"},
        app_optional_secrets=["MODE"],
        **settings,
    )
    checkout.commit("A small app")


def new_version(checkout: Checkout) -> None:
    """Commit a change of the app."""
    with (checkout.path / "small/server.py").open("a") as file:
        file.write("# changed\n")
    checkout.commit("Change the app")


def wait_for_the_lock(rehearsal: Rehearsal) -> None:
    """Wait until the run that has just ended has given up its lock: that is of its playbook, too."""
    while {sign for stage in ("demo", *STAGES) for sign in signs_of_life(rehearsal, stage)} - {"free"}:
        time.sleep(0.5)


def switch_off(rehearsal: Rehearsal) -> None:
    """Have the one machine off."""
    ec2 = rehearsal.boto("ec2")
    [found] = ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["running"]}])[
        "Reservations"
    ]
    machines = [one["InstanceId"] for one in found["Instances"]]
    ec2.stop_instances(InstanceIds=machines)
    ec2.get_waiter("instance_stopped").wait(InstanceIds=machines)


def confirm_mail(rehearsal: Rehearsal) -> None:
    """Confirm what mail addresses subscribed to: who deletes the topic ends such a subscription first."""
    sns = rehearsal.boto("sns")
    for topic in sns.list_topics()["Topics"]:
        sns.confirm_subscription(TopicArn=topic["TopicArn"], Token="any")


def make_by_hand(rehearsal: Rehearsal, checkout: Checkout) -> None:
    """Make what can be taken over."""
    checkout.settings(elastic_ip=make_things(rehearsal, "/ragstream/demo/env/MODE"))
    make_machine(rehearsal, checkout.keys, "stop")


def record(rehearsal: Rehearsal, checkout: Checkout) -> dict[str, Asked]:
    """Run every playbook and return what each asked for, by its column in the table."""
    columns: dict[str, Asked] = {}

    def run(column: str, playbook: str, *arguments: str) -> None:
        before = len(rehearsal.trail())
        checkout.passes(playbook, *arguments)
        wait_for_the_lock(rehearsal)
        asked = columns.setdefault(column, defaultdict(set))
        for one in rehearsal.trail()[before:]:
            if one["who"].endswith(":user/owner"):
                asked[one["action"]].add(one["resource"])

    staging, live = ("-i", "inventory/staging"), ("-i", "inventory/live")
    ecr, own = rehearsal.boto("ecr"), "ragstream-live-web"
    steps: list[Callable[[], object]] = [
        lambda: run("site", "site.yml"),
        lambda: run("push", "push.yml"),
        lambda: run("demo-stop", "demo-stop.yml"),
        lambda: run("demo-start", "demo-start.yml"),
        lambda: run("status", "status.yml"),
        lambda: run("logs", "logs.yml"),
        lambda: run("backup", "backup.yml"),
        lambda: run("restore", "restore.yml"),
        lambda: new_version(checkout),
        lambda: run("push", "push.yml"),
        lambda: run("release", "release.yml"),
        lambda: run("rollback", "rollback.yml"),
        lambda: run("set-parameter", "set-parameter.yml", "-e", "parameter=MODE"),
        lambda: run("rotate-ci-key", "rotate-ci-key.yml"),
        lambda: run("rotate-ci-key", "rotate-ci-key.yml", "-e", "finish=true"),
        lambda: run("cost", "cost.yml"),
        lambda: run("doctor", "doctor.yml"),
        lambda: run("site", "playbooks/provision.yml", "-e", "ssh_from=203.0.113.0/24"),
        lambda: run("by Session Manager", "playbooks/provision.yml", *BY_SESSION),
        lambda: run("by Session Manager", "doctor.yml", *BY_SESSION),
        lambda: switch_off(rehearsal),
        lambda: run("site", "playbooks/provision.yml"),
        lambda: run("site with oidc", "playbooks/provision.yml", *OIDC),
        lambda: run("site with oidc", "playbooks/provision.yml", *OIDC, "-e", "github_branch=trunk"),
        lambda: run("site, watched", "playbooks/provision.yml", *OIDC, "-e", WATCHED),
        lambda: confirm_mail(rehearsal),
        lambda: run("status, watched", "status.yml", *OIDC, "-e", WATCHED),
        lambda: run("site with a domain", "playbooks/provision.yml", *OIDC, "-e", f"app_domain={DOMAIN}"),
        lambda: run("site", "playbooks/provision.yml", *staging),
        lambda: run("promote", "promote.yml", *staging, "-e", "from=demo"),
        lambda: ecr.create_repository(repositoryName=own),
        lambda: run("promote", "promote.yml", *live, "-e", "from=demo"),
        lambda: ecr.delete_repository(repositoryName=own, force=True),
        lambda: run("destroy", "destroy.yml", *staging, *STAGING_CONFIRMED),
        lambda: run("destroy", "destroy.yml", *OIDC, *CONFIRMED, "-e", "delete_data=true"),
        lambda: make_by_hand(rehearsal, checkout),
        lambda: run("site, adopting", "playbooks/provision.yml", "-e", "adopt=true"),
        lambda: run("destroy", "destroy.yml", *CONFIRMED),
        lambda: run("site, adopting", "playbooks/provision.yml", "-e", "adopt=true"),
        lambda: run("destroy", "destroy.yml", *CONFIRMED, "-e", "delete_adopted=true"),
    ]
    for step in steps:
        step()
    return columns


def together(columns: Iterable[Asked]) -> Asked:
    """What several playbooks asked for."""
    asked: Asked = defaultdict(set)
    for column in columns:
        for action, resources in column.items():
            asked[action] |= resources
    return asked


def named(resources: set[str]) -> tuple[str, ...]:
    """The resources of an action as the policy names them."""
    found = set()
    for resource in resources:
        for pattern, replacement in NAMES:
            if re.fullmatch(pattern, resource):
                found.add(re.sub(pattern, replacement, resource))
                break
        else:
            found.add(resource if resource.endswith(f"/{ISSUER}") else "*")
    return ("*",) if "*" in found else tuple(sorted(found))


def policy(asked: Asked) -> dict[str, Any]:
    """The policy that allows it: one statement for each kind of resource."""
    statements: dict[tuple[str, ...], list[str]] = defaultdict(list)
    conditional: list[dict[str, Any]] = []
    for action, resources in sorted(asked.items()):
        if action == "sts:GetCallerIdentity":  # which needs no right
            continue
        on = named(resources)
        bound = [one for one in on if action in CONDITIONS and not one.endswith(SHELL)]
        if bound:
            condition = {"StringEquals": CONDITIONS[action]}
            conditional.append(
                {"Effect": "Allow", "Action": [action], "Resource": bound, "Condition": condition}
            )
        if free := tuple(one for one in on if one not in bound):
            statements[free].append(action)
    listed = [
        {"Effect": "Allow", "Action": actions, "Resource": list(resources)}
        for resources, actions in sorted(statements.items())
    ]
    return {"Version": "2012-10-17", "Statement": [*listed, *conditional]}


def page(columns: dict[str, Asked]) -> str:
    """The page: a table of actions by playbook, and a policy."""
    asked = together(columns.values())
    lines = [
        f"| | {' | '.join(columns)} |",
        f"|---|{':-:|' * len(columns)}",
        *(
            f"| `{action}` | {' | '.join('×' if action in column else '' for column in columns.values())} |"
            for action in sorted(asked)
        ),
    ]
    document = json.dumps(policy(asked), indent=1)
    return f"{INTRODUCTION}\n" + "\n".join(lines) + f"\n{POLICY}\n```json\n{document}\n```\n"


def main() -> None:
    """Record, and write the page."""
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    with (
        standing("matinee-permissions", free_port()) as rehearsal,
        tempfile.TemporaryDirectory() as folder,
        others(rehearsal),
        as_owner(rehearsal, Path(folder), {"Version": "2012-10-17", "Statement": [everything]}) as owner,
    ):
        rehearsal.boto("route53").create_hosted_zone(Name="example.org", CallerReference="permissions")
        (Path(folder) / "checkout").mkdir()
        checkout = make_checkout(Path(folder) / "checkout", owner | {"MODE": "good"})
        small_app(checkout)
        for stage, share in STAGES.items():
            subprocess.run(["tools/stage", stage, *share], cwd=checkout.path, check=True)
        PAGE.write_text(page(record(rehearsal, checkout)))


if __name__ == "__main__":
    main()
