"""Two stages side by side: made, kept apart, an image promoted between them, and destroyed one by one."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from tests.checkout import ROOT, Checkout, words
from tests.local_aws import Rehearsal

STAGING = ("-i", "inventory/staging")


@pytest.fixture(scope="module")
def stages(checkout: Checkout) -> Checkout:
    """A checkout with a small app and a second stage, which uses the first one's repository."""
    shutil.copytree(ROOT / "tests/apps/faulty", checkout.path / "small")
    checkout.settings(app_context="small", app_dockerfile="", app_memory="64m", app_health_timeout=20)
    made = make_stage(checkout, "NAME=staging", "SHARE=repository")
    assert made.returncode == 0, made.stderr
    checkout.commit("A second stage")
    return checkout


def make_stage(checkout: Checkout, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `make stage` as a person would."""
    return subprocess.run(
        ["make", "stage", *arguments], cwd=checkout.path, capture_output=True, text=True, check=False
    )


def deploy_stage(checkout: Checkout, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Ask as deploy.yml does which stage a run is for."""
    command = ["tools/deploy-stage", *arguments]
    return subprocess.run(command, cwd=checkout.path, capture_output=True, text=True, check=False)


def digests(rehearsal: Rehearsal) -> dict[str, str]:
    """The digest behind each tag of the shared repository."""
    images = rehearsal.boto("ecr").describe_images(repositoryName="ragstream-web")["imageDetails"]
    return {tag: image["imageDigest"] for image in images for tag in image.get("imageTags", [])}


def users_of_the_repository(rehearsal: Rehearsal) -> set[str]:
    """The stages that share it, as they say on it."""
    ecr = rehearsal.boto("ecr")
    [repository] = ecr.describe_repositories()["repositories"]
    keys = [tag["Key"] for tag in ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"])["tags"]]
    return {key.removeprefix("UsedBy:") for key in keys if key.startswith("UsedBy:")}


def use_the_repository(rehearsal: Rehearsal, name: str) -> None:
    """Say that a stage shares it which was made on another machine."""
    ecr = rehearsal.boto("ecr")
    [repository] = ecr.describe_repositories()["repositories"]
    tag = {"Key": f"UsedBy:{name}", "Value": "matinee"}
    ecr.tag_resource(resourceArn=repository["repositoryArn"], tags=[tag])


def names_of(rehearsal: Rehearsal, stage: str) -> dict[str, list[str]]:
    """What is there of a stage, by its tags."""
    ec2 = rehearsal.boto("ec2")
    tagged = [{"Name": "tag:Stage", "Values": [stage]}]
    states = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}
    reservations = ec2.describe_instances(Filters=[*tagged, states])["Reservations"]
    parameters = rehearsal.boto("ssm").describe_parameters(
        ParameterFilters=[{"Key": "tag:Stage", "Values": [stage]}]
    )["Parameters"]
    return {
        "instance": [one["Instances"][0]["InstanceId"] for one in reservations],
        "address": [one["PublicIp"] for one in ec2.describe_addresses(Filters=tagged)["Addresses"]],
        "group": [one["GroupName"] for one in ec2.describe_security_groups(Filters=tagged)["SecurityGroups"]],
        "key": [one["KeyName"] for one in ec2.describe_key_pairs(Filters=tagged)["KeyPairs"]],
        "parameter": sorted(one["Name"] for one in parameters if "/lock/" not in one["Name"]),
    }


def test_a_stage_has_what_is_its_own_and_shares_the_rest(stages: Checkout) -> None:
    first, second = (
        yaml.safe_load((stages.path / f"inventory/{name}/group_vars/all.yml").read_text())
        for name in ("demo", "staging")
    )
    own = {name: value for name, value in second.items() if first.get(name) != value}
    assert own == {
        "stage": "staging",
        "ci_user": "github-{{ project }}-{{ stage }}-ci",
        "image_tag": "staging",
        "repository_shared": True,
    }
    assert "inventory/demo" not in (stages.path / "inventory/staging/aws_ec2.yml").read_text()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), '"" cannot be the name of a stage'),
        (("NAME=Staging",), '"Staging" cannot be the name of a stage'),
        (("NAME=../demo",), '"../demo" cannot be the name of a stage'),
        (("NAME=demo",), "inventory/demo is there already"),
        (("NAME=other", "SHARE=everything"), "stages can share their repository, not everything"),
    ],
)
def test_a_bad_name_makes_no_stage(stages: Checkout, arguments: tuple[str, ...], reason: str) -> None:
    made = make_stage(stages, *arguments)
    assert made.returncode != 0
    assert reason in made.stderr
    assert sorted(path.name for path in (stages.path / "inventory").iterdir()) == ["demo", "staging"]


@pytest.mark.parametrize(
    ("arguments", "stage", "suffix"),
    [
        (("deploy-1",), "demo", ""),
        (("deploy-2026-11-21",), "demo", ""),
        (("deploy-staging-1",), "staging", "_STAGING"),
        (("main", "demo"), "demo", ""),
        (("main", "staging"), "staging", "_STAGING"),
    ],
)
def test_a_tag_or_a_person_says_which_stage(
    stages: Checkout, arguments: tuple[str, ...], stage: str, suffix: str
) -> None:
    assert deploy_stage(stages, *arguments).stdout == f"stage={stage}\nsuffix={suffix}\n"


@pytest.mark.parametrize("arguments", [("deploy-prod-1",), ("main", "prod")])
def test_a_deploy_to_no_stage_fails(stages: Checkout, arguments: tuple[str, ...]) -> None:
    asked = deploy_stage(stages, *arguments)
    assert asked.returncode != 0
    assert 'There is no stage "prod": inventory/ has demo, staging.' in asked.stderr
    assert not asked.stdout


def test_a_repository_that_is_shared_must_be_there(rehearsal: Rehearsal, stages: Checkout) -> None:
    run = stages.play("playbooks/provision.yml", *STAGING)
    assert run.status != 0
    assert "There is no repository ragstream-web in eu-central-1 to be shared" in words(run.output)
    assert not rehearsal.boto("ec2").describe_key_pairs()["KeyPairs"]


def test_two_stages_stand_side_by_side(rehearsal: Rehearsal, stages: Checkout) -> None:
    stages.passes("site.yml")
    demo = names_of(rehearsal, "demo")
    stages.passes("playbooks/provision.yml", *STAGING)
    staging = names_of(rehearsal, "staging")
    assert names_of(rehearsal, "demo") == demo
    for kind, names in demo.items():
        assert len(names) == len(staging[kind]) > 0
        assert not set(names) & set(staging[kind])
    users = {user["UserName"] for user in rehearsal.boto("iam").list_users()["Users"]}
    assert users >= {"github-ragstream-ci", "github-ragstream-staging-ci"}
    assert users_of_the_repository(rehearsal) == {"ragstream-staging"}
    assert stages.passes("playbooks/provision.yml", *STAGING).changed == 0
    # What either of them serves is never expired while the other pushes
    policy = rehearsal.boto("ecr").get_lifecycle_policy(repositoryName="ragstream-web")["lifecyclePolicyText"]
    selections = [rule["selection"] for rule in json.loads(policy)["rules"]]
    assert [one.get("tagPatternList") for one in selections] == [["latest"], ["staging"], None]


def test_the_very_same_image_is_promoted(rehearsal: Rehearsal, stages: Checkout) -> None:
    stages.passes("push.yml", *STAGING)
    pushed = digests(rehearsal)
    assert set(pushed) == {"staging", *pushed.keys() - {"staging"}}
    assert "latest" not in pushed
    version = next(tag for tag in pushed if tag != "staging")

    assert stages.passes("promote.yml", "-e", "from=staging", "--check").changed == 1
    assert digests(rehearsal) == pushed
    run = stages.passes("promote.yml", "-e", "from=staging")
    assert digests(rehearsal) == pushed | {"latest": pushed["staging"]}
    assert f"ragstream-web:latest is version {version} now" in words(run.output)
    assert pushed["staging"] in run.output
    assert stages.passes("promote.yml", "-e", "from=staging").changed == 0
    assert f"serves version {version}" in stages.passes("demo-start.yml").output


@pytest.mark.parametrize("source", ["demo", "nowhere", ""])
def test_promoting_from_no_stage_is_refused(stages: Checkout, source: str) -> None:
    run = stages.play("promote.yml", "-e", f"from={source}")
    assert run.status != 0
    assert "there are inventories of demo, staging" in words(run.output)


def test_one_is_destroyed_and_the_other_untouched(rehearsal: Rehearsal, stages: Checkout) -> None:
    demo, images = names_of(rehearsal, "demo"), digests(rehearsal)
    # As whoever forgets the inventory, or takes the wrong one
    run = stages.play("destroy.yml", *STAGING, "-e", "confirm=ragstream-demo")
    assert run.status != 0
    assert "pass -e confirm=ragstream-staging" in words(run.output)
    stages.passes("destroy.yml", *STAGING, "-e", "confirm=ragstream-staging")
    assert not any(names_of(rehearsal, "staging").values())
    assert names_of(rehearsal, "demo") == demo
    assert digests(rehearsal) == images
    users = {user["UserName"] for user in rehearsal.boto("iam").list_users()["Users"]}
    assert users & {"github-ragstream-ci", "github-ragstream-staging-ci"} == {"github-ragstream-ci"}
    assert re.search(r"health: healthy", stages.passes("status.yml").output)
    assert stages.passes("playbooks/provision.yml", "--check").changed == 0


def test_what_another_stage_uses_stays(rehearsal: Rehearsal, stages: Checkout) -> None:
    images = digests(rehearsal)
    assert users_of_the_repository(rehearsal) == set()  # the other one has said that it is gone
    use_the_repository(rehearsal, "ragstream-elsewhere")
    run = stages.passes("destroy.yml", "-e", "confirm=ragstream-demo")
    assert "repository ragstream-web stays, used by ragstream-elsewhere as its tags say" in words(run.output)
    assert "Kept: repository ragstream-web" in run.output
    assert "images in the repository that is left" in run.output  # with its price
    assert not any(names_of(rehearsal, "demo").values())
    assert digests(rehearsal) == images

    assert stages.passes("destroy.yml", "-e", "confirm=ragstream-demo").changed == 0
    stages.passes("destroy.yml", "-e", "confirm=ragstream-demo", "-e", "delete_shared=true")
    assert not rehearsal.boto("ecr").describe_repositories()["repositories"]
    # Its last user can be destroyed after it
    stages.passes("destroy.yml", *STAGING, "-e", "confirm=ragstream-staging")
