"""What somebody has made by hand, under names that a stage uses."""

import json
import subprocess
from pathlib import Path

from tests.local_aws import Rehearsal

MINE = {"Key": "Owner", "Value": "somebody"}
MANIFEST = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}
RULE = {
    "rulePriority": 1,
    "selection": {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 50},
    "action": {"type": "expire"},
}
DEBIAN = "136693071363"


def make_things(rehearsal: Rehearsal, parameter: str) -> str:
    """Make a repository with an image and rules, a user, a parameter and an address; returns the address."""
    ec2, ecr, iam, ssm = map(rehearsal.boto, ("ec2", "ecr", "iam", "ssm"))
    ecr.create_repository(repositoryName="ragstream-web", tags=[MINE])
    ecr.put_image(repositoryName="ragstream-web", imageTag="mine", imageManifest=json.dumps(MANIFEST))
    ecr.put_lifecycle_policy(
        repositoryName="ragstream-web", lifecyclePolicyText=json.dumps({"rules": [RULE]})
    )
    iam.create_user(UserName="github-ragstream-ci", Tags=[MINE])
    ssm.put_parameter(Name=parameter, Value="mine", Type="SecureString", Tags=[MINE])
    made = ec2.allocate_address(
        Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": [MINE]}]
    )
    return str(made["PublicIp"])


def make_machine(rehearsal: Rehearsal, keys: Path, when_it_powers_off: str) -> str:
    """Run a Debian, and have its key where the stage's keys are; returns its number."""
    key = keys / "id_ed25519"
    key.parent.mkdir(parents=True, mode=0o700)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    ec2 = rehearsal.boto("ec2")
    ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=key.with_suffix(".pub").read_bytes())
    images = ec2.describe_images(Owners=[DEBIAN])["Images"]
    named = [{"Key": "Name", "Value": "ragstream-demo"}]
    made = ec2.run_instances(
        ImageId=max(images, key=lambda image: image["CreationDate"])["ImageId"],
        MinCount=1,
        MaxCount=1,
        InstanceType="t3.medium",
        KeyName="mine",
        InstanceInitiatedShutdownBehavior=when_it_powers_off,
        TagSpecifications=[{"ResourceType": "instance", "Tags": named}],
    )
    identity = str(made["Instances"][0]["InstanceId"])
    ec2.get_waiter("instance_running").wait(InstanceIds=[identity])
    return identity
