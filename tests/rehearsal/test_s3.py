"""S3: buckets with their settings, objects with their versions, and rights on one bucket."""

import json
from typing import Any

import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.local_aws import PATIENT, Rehearsal
from tests.rehearsal.conftest import BUCKET, allow, make_user
from tests.rehearsal.host import Host

SETTINGS = {"BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"}


@pytest.fixture(scope="module")
def bucket(rehearsal: Rehearsal) -> str:
    """A versioned bucket the host's role may list, read and write."""
    s3 = rehearsal.boto("s3")
    where = {"LocationConstraint": "eu-central-1"}
    for name in (BUCKET, "theirs"):
        s3.create_bucket(Bucket=name, CreateBucketConfiguration=where)
        s3.put_object(Bucket=name, Key="old", Body=b"1")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    return BUCKET


def test_a_bucket_keeps_its_settings(rehearsal: Rehearsal, bucket: str) -> None:
    s3 = rehearsal.boto("s3")
    encryption = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
    block = dict.fromkeys(SETTINGS, True)
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""}}
    rule |= {"NoncurrentVersionExpiration": {"NoncurrentDays": 30}}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=encryption)
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=block)
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})

    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    kept = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert kept["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"] == block
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == [rule]


def test_a_deleted_object_leaves_its_versions(rehearsal: Rehearsal, bucket: str) -> None:
    s3 = rehearsal.boto("s3")
    for content in (b"1", b"2"):
        s3.put_object(Bucket=bucket, Key="versioned", Body=content)
    s3.delete_object(Bucket=bucket, Key="versioned")
    found = s3.list_object_versions(Bucket=bucket, Prefix="versioned")
    assert (len(found["Versions"]), len(found["DeleteMarkers"])) == (2, 1)

    listed = [
        {"Key": one["Key"], "VersionId": one["VersionId"]}
        for one in found["Versions"] + found["DeleteMarkers"]
    ]
    s3.delete_objects(Bucket=bucket, Delete={"Objects": listed})
    assert "Versions" not in s3.list_object_versions(Bucket=bucket, Prefix="versioned")


def test_a_right_to_delete_is_one_on_objects(rehearsal: Rehearsal, bucket: str) -> None:
    right = allow(["s3:DeleteObject"], f"arn:aws:s3:::{bucket}/mine/*")
    s3 = rehearsal.boto("s3", **make_user(rehearsal, "deleter", right))

    def delete(*keys: str) -> Any:
        return s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})

    assert [one["Key"] for one in delete("mine/a", "mine/b")["Deleted"]] == ["mine/a", "mine/b"]
    assert [one["Code"] for one in delete("theirs/a")["Errors"]] == ["AccessDenied"]
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=bucket, Key="theirs/a")


def test_a_host_uses_its_bucket_over_tls_and_no_other(host: Host, bucket: str) -> None:
    host.run(
        "sudo apt-get -qq update && sudo DEBIAN_FRONTEND=noninteractive apt-get -qq install"
        " --no-install-recommends python3-boto3 > /dev/null 2>&1"
    )
    said = json.loads(host.run(f"{PATIENT} python3 - {bucket}", stdin=ON_HOST))
    assert said == {
        "hosts": ["s3.eu-central-1.amazonaws.com", f"{bucket}.s3.eu-central-1.amazonaws.com"],
        "same": True,
        "listed": ["large", "old"],
        "metadata": {"sha256": "abc"},
        "refused": {
            "delete": "AccessDenied",
            "delete many": "AccessDenied",
            "list another": "AccessDenied",
            "read another": "AccessDenied",
            "write another": "AccessDenied",
            "all": "AccessDenied",
            "unsigned": 403,
        },
    }


ON_HOST = """
import hashlib, json, os, sys, urllib.error, urllib.parse, urllib.request
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

[bucket] = sys.argv[1:]
s3 = boto3.client("s3", region_name="eu-central-1")
by_path = boto3.client("s3", region_name="eu-central-1", config=Config(s3={"addressing_style": "path"}))
hosts = []
def note(request, **_):
    hosts.append(urllib.parse.urlsplit(request.url).hostname)
for client in (s3, by_path):
    client.meta.events.register("before-send", note)
by_path.head_object(Bucket=bucket, Key="old")
with open("/tmp/large", "wb") as file:
    for _ in range(100):
        file.write(os.urandom(1_000_000))
s3.upload_file("/tmp/large", bucket, "large", ExtraArgs={"Metadata": {"sha256": "abc"}})
s3.download_file(bucket, "large", "/tmp/back")
def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

def code(call, **arguments):
    try:
        answer = call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return [error["Code"] for error in answer.get("Errors", [])][0]

try:
    unsigned = urllib.request.urlopen(f"https://{bucket}.s3.eu-central-1.amazonaws.com/old").status
except urllib.error.HTTPError as error:
    unsigned = error.code
print(json.dumps({
    "hosts": sorted(set(hosts)),
    "same": digest("/tmp/large") == digest("/tmp/back"),
    "listed": [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]],
    "metadata": s3.head_object(Bucket=bucket, Key="large")["Metadata"],
    "refused": {
        "delete": code(s3.delete_object, Bucket=bucket, Key="old"),
        "delete many": code(s3.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": "old"}]}),
        "list another": code(s3.list_objects_v2, Bucket="theirs"),
        "read another": code(s3.get_object, Bucket="theirs", Key="old"),
        "write another": code(s3.put_object, Bucket="theirs", Key="new", Body=b""),
        "all": code(s3.list_buckets),
        "unsigned": unsigned,
    },
}))
"""


def test_what_was_signed_in_advance_is_let_in_until_it_expires(rehearsal: Rehearsal, bucket: str) -> None:
    def ask(s3: Any, key: str, seconds: int = 60, spoilt: str = "") -> int:
        named = {"Bucket": bucket, "Key": key}
        url = s3.generate_presigned_url("get_object", Params=named, ExpiresIn=seconds) + spoilt
        return requests.get(url, timeout=10).status_code

    v4 = Config(signature_version="s3v4", s3={"addressing_style": "path"})
    reader = make_user(rehearsal, "reader", allow(["s3:GetObject"], f"arn:aws:s3:::{bucket}/old"))
    s3 = rehearsal.boto("s3", config=v4, **reader)
    assert ask(s3, "old") == 200
    assert ask(s3, "new") == 403  # who signed it has not the right
    assert ask(s3, "old", spoilt="0") == 403
    assert ask(s3, "old", seconds=-1) == 403
    url = rehearsal.boto("s3", config=v4).generate_presigned_url(
        "put_object", Params={"Bucket": bucket, "Key": "brought"}
    )
    assert requests.put(url, data=b"2", timeout=10).status_code == 200
    assert rehearsal.boto("s3").get_object(Bucket=bucket, Key="brought")["Body"].read() == b"2"
