"""The whole show as a user sees it: set up, push, start, back up, release, roll back, stop, destroy.

Each test goes on where the one before it ended; the rehearsal, the host in it and the browser are real.
"""

import json
import re
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError
from playwright.sync_api import Page, expect

from tests.browser import new_page, visit
from tests.checkout import ROOT, Checkout, Run
from tests.interrupt import holdings
from tests.local_aws import Rehearsal

SAMPLE = ROOT / "app/src/matinee/samples/guide.pdf"
SECRET = "sk-matinee-test-4Qz'\"$x\\n"
REGION = "eu-central-1"
BUCKET = "ragstream-demo-backup-123456789012"


@pytest.fixture
def page() -> Iterator[Page]:
    """A page in a real browser."""
    with new_page() as made:
        yield made


@pytest.fixture(scope="module")
def url(checkout: Checkout) -> str:
    """The stage's URL as status.yml prints it, which stays what it was first."""
    return url_in(checkout.passes("status.yml"))


def url_in(run: Run) -> str:
    """Return the stage's URL as status.yml prints it."""
    found = re.search(r"url: (http://[\d.]+)/", run.output)
    assert found
    return found.group(1)


def served_version(url: str) -> str:
    """Return the version that the bundled app says it is."""
    return json.loads(get(f"{url}/version"))["version"]


@contextmanager
def watched(url: str) -> Iterator[list[str]]:
    """Ask for the version all the time and collect the answers, failures too."""
    seen: list[str] = []
    left = threading.Event()

    def watch() -> None:
        while not left.wait(0.05):
            try:
                seen.append(served_version(url))
            except (OSError, ValueError) as error:
                seen.append(repr(error))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        left.set()
        watcher.join()


def get(url: str) -> str:
    """Return what a URL answers with."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read().decode()


def refused(call: Callable[..., object], **arguments: object) -> bool:
    """Whether AWS refuses a call for want of a right."""
    try:
        call(**arguments)
    except ClientError as error:
        return (
            "AccessDenied" in error.response["Error"]["Code"]
            or error.response["Error"]["Code"] == "UnauthorizedOperation"
        )
    return False


def test_nothing_is_there_before_site(checkout: Checkout) -> None:
    run = checkout.play("demo-start.yml")
    assert run.status != 0
    assert "run ansible-playbook site.yml first" in " ".join(run.output.split())


def test_check_mode_predicts_from_nothing(checkout: Checkout) -> None:
    run = checkout.passes("site.yml", "--check", "--diff")
    assert run.changed > 5
    assert "The stage stands at" not in run.output
    assert not checkout.keys.exists()


def test_site_sets_the_stage_up(checkout: Checkout) -> None:
    # A secret of its own, so that the app goes on without a model
    checkout.settings(
        app_secrets={"DEMO_TOKEN": "{{ lookup('ansible.builtin.env', 'DEMO_TOKEN') }}"},
        app_optional_secrets=[],
    )
    checkout.commit("A secret")
    environment = checkout.environment | {"DEMO_TOKEN": SECRET}
    run = checkout.passes("site.yml", "--diff", "-vv", environment=environment)
    assert SECRET not in run.output
    assert "SECRET_ACCESS_KEY=" not in run.output
    assert (checkout.keys / "github-secrets.env").stat().st_mode & 0o777 == 0o600


def test_what_stands_is_as_declared(rehearsal: Rehearsal) -> None:
    [repository] = rehearsal.boto("ecr").describe_repositories()["repositories"]
    assert repository["imageScanningConfiguration"]["scanOnPush"]
    policy = rehearsal.boto("ecr").get_lifecycle_policy(repositoryName="ragstream-web")["lifecyclePolicyText"]
    served, rule = json.loads(policy)["rules"]
    assert served["selection"]["tagPatternList"] == ["latest"]
    assert (rule["selection"]["countNumber"], rule["action"]["type"]) == (10, "expire")

    ec2 = rehearsal.boto("ec2")
    [reservation] = ec2.describe_instances()["Reservations"]
    [instance] = reservation["Instances"]
    assert instance["InstanceType"] == "t3.medium"
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    [volume] = ec2.describe_volumes()["Volumes"]
    assert (volume["VolumeType"], volume["Encrypted"]) == ("gp3", True)
    [group] = ec2.describe_security_groups(GroupNames=["ragstream-demo"])["SecurityGroups"]
    opened = {
        rule["FromPort"]: [source["CidrIp"] for source in rule["IpRanges"]] for rule in group["IpPermissions"]
    }
    assert opened == {80: ["0.0.0.0/0"], 443: ["0.0.0.0/0"], 22: [rehearsal.env["MATINEE_SSH_FROM"]]}
    [address] = ec2.describe_addresses()["Addresses"]
    assert address["InstanceId"] == instance["InstanceId"]
    for tagged in (instance, group, address):
        tags = {tag["Key"]: tag["Value"] for tag in tagged["Tags"]}
        assert tags.items() >= {"Project": "ragstream", "Stage": "demo", "ManagedBy": "matinee"}.items()


def test_site_again_changes_nothing(checkout: Checkout) -> None:
    # The secret is not in this shell: what is stored is kept
    assert checkout.passes("site.yml").changed == 0
    assert checkout.passes("site.yml", "--check").changed == 0


def test_status_says_what_is_missing(checkout: Checkout) -> None:
    run = checkout.passes("status.yml")
    assert "nothing yet: run push.yml" in run.output
    assert "No image has been pushed to ragstream-web yet" in run.output


def test_push_needs_the_key_of_ci_and_nothing_else(rehearsal: Rehearsal, checkout: Checkout) -> None:
    key = dict(line.split("=", 1) for line in (checkout.keys / "github-secrets.env").read_text().split())
    config = {"endpoint_url": f"http://127.0.0.1:{rehearsal.port}"}
    environment = {
        name: value
        for name, value in checkout.environment.items()
        if name not in ("AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
    } | {"AWS_ENDPOINT_URL": config["endpoint_url"], **key}
    run = checkout.passes("push.yml", environment=environment)
    assert "pushed," in run.output
    assert checkout.version in run.output
    assert key["AWS_SECRET_ACCESS_KEY"] not in run.output

    session = boto3.Session(key["AWS_ACCESS_KEY_ID"], key["AWS_SECRET_ACCESS_KEY"], region_name=REGION)
    ssm, ecr, ec2, iam, s3 = (session.client(name, **config) for name in ("ssm", "ecr", "ec2", "iam", "s3"))
    assert refused(ssm.get_parameter, Name="/ragstream/demo/env/DEMO_TOKEN", WithDecryption=True)
    assert refused(ssm.get_parameters_by_path, Path="/ragstream/demo/env", WithDecryption=True)
    assert refused(ecr.initiate_layer_upload, repositoryName="somebody-elses")
    assert refused(ecr.batch_delete_image, repositoryName="ragstream-web", imageIds=[{"imageTag": "latest"}])
    assert refused(ecr.delete_repository, repositoryName="ragstream-web", force=True)
    assert refused(ec2.describe_instances)
    assert refused(iam.create_access_key, UserName="github-ragstream-ci")
    assert refused(s3.list_buckets)


def test_push_again_sends_nothing(checkout: Checkout) -> None:
    run = checkout.passes("push.yml")
    assert run.changed == 0
    assert "was there already, nothing sent" in run.output


def test_start_serves_the_newest(checkout: Checkout, url: str) -> None:
    run = checkout.passes("demo-start.yml", "-e", "hours=9", "-e", "idle_minutes=600")
    assert f"serves version {checkout.version}" in run.output
    assert "It stops by itself at " in run.output
    assert "or after 600 minutes without a visitor." in run.output
    assert served_version(url) == checkout.version


def test_page_answers_with_a_citation(url: str, page: Page) -> None:
    visit(page, url, "stFileUploaderDropzone")
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(SAMPLE)
    expect(page.get_by_text("Added guide.pdf.")).to_be_visible(timeout=60_000)
    box = page.get_by_test_id("stChatInputTextArea")
    expect(box).to_be_enabled()
    box.fill("Why does the address stay the same after a stop?")
    box.press("Enter")
    citation = page.get_by_test_id("stExpander").filter(has_text="guide.pdf, page").first
    expect(citation).to_be_visible(timeout=60_000)
    citation.locator("summary").first.click()
    quote = citation.locator("mark.quote").filter(has_text="the address is the same at every show")
    expect(quote.first).to_be_visible()


def test_backup_is_private_and_comes_back(rehearsal: Rehearsal, checkout: Checkout) -> None:
    rehearsal.on_host("echo kept > /var/lib/matinee/data/marker")
    run = checkout.passes("backup.yml")
    assert "USD per GB-month" in run.output
    named = re.search(r"data/\d{8}T\d{6}Z-\w+\.tar\.gz", run.output)
    assert named

    s3 = rehearsal.boto("s3")
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"].values())
    [encryption] = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"]
    assert encryption["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    [statement] = json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])["Statement"]
    assert (statement["Effect"], statement["Condition"]["Bool"]) == ("Deny", {"aws:SecureTransport": "false"})
    [rule] = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert rule["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30
    assert rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 1

    rehearsal.on_host("rm /var/lib/matinee/data/marker")
    wrong = checkout.play("restore.yml", "-e", "backup=none-of-them")
    assert wrong.status != 0
    assert named.group() in wrong.output
    assert f"with the data of {named.group()}" in checkout.passes("restore.yml").output
    assert rehearsal.on_host("cat /var/lib/matinee/data/marker") == "kept\n"


def test_secret_reaches_the_app_and_nothing_else(rehearsal: Rehearsal) -> None:
    seen = rehearsal.on_host("docker exec matinee-app sh -c 'cat /proc/[0-9]*/environ' | tr '\\0' '\\n'")
    assert f"DEMO_TOKEN={SECRET}" in seen
    # The pattern does not match itself, so that neither this script nor its trace is found
    leaks = rehearsal.on_host(
        """
        docker inspect matinee-app | grep -c 'sk-matinee-tes[t]' || true
        image=$(docker inspect -f '{{.Image}}' matinee-app)
        docker history --no-trunc "$image" | grep -c 'sk-matinee-tes[t]' || true
        journalctl --no-pager | grep -c 'sk-matinee-tes[t]' || true
        ps axww -o args | grep -c 'sk-matinee-tes[t]' || true
        grep -rIl 'sk-matinee-tes[t]' /etc /var /root /home /opt /srv /tmp 2>/dev/null | wc -l
        """,
    )
    assert leaks.split() == ["0"] * 5


def test_host_may_read_its_own_and_no_more(rehearsal: Rehearsal) -> None:
    rehearsal.boto("ssm").put_parameter(Name="/ragstream/other/env/KEY", Value="x", Type="SecureString")
    where = {"LocationConstraint": REGION}
    rehearsal.boto("s3").create_bucket(Bucket="somebody-elses", CreateBucketConfiguration=where)
    answers = rehearsal.allowed_to_host(
        """
ssm, ecr, s3 = (client(name) for name in ("ssm", "ecr", "s3"))
ask(ssm.get_parameters_by_path, Path="/ragstream/demo/env", WithDecryption=True)
ask(ssm.get_parameters_by_path, Path="/ragstream/other/env", WithDecryption=True)
ask(ssm.put_parameter, Name="/ragstream/demo/env/NEW", Value="x", Type="SecureString")
ask(ecr.batch_get_image, repositoryName="ragstream-web", imageIds=[{"imageTag": "latest"}])
ask(ecr.initiate_layer_upload, repositoryName="ragstream-web")
ask(ecr.put_image, repositoryName="ragstream-web", imageManifest="{}", imageTag="evil")
own = "ragstream-demo-backup-123456789012"
ask(s3.list_objects_v2, Bucket=own)
ask(s3.put_object, Bucket=own, Key="data/new", Body=b"x")
ask(s3.delete_object, Bucket=own, Key="data/new")
ask(s3.put_bucket_versioning, Bucket=own, VersioningConfiguration={"Status": "Suspended"})
ask(s3.list_buckets)
ask(s3.list_objects_v2, Bucket="somebody-elses")
        """
    )
    rehearsal.boto("s3").delete_bucket(Bucket="somebody-elses")
    assert answers == [
        *["allowed", "refused", "refused", "allowed", "refused", "refused"],
        *["allowed", "allowed", "refused", "refused", "refused", "refused"],
    ]


def test_container_is_unprivileged(rehearsal: Rehearsal) -> None:
    inspected = json.loads(rehearsal.on_host("docker inspect matinee-app"))[0]
    assert inspected["HostConfig"]["CapDrop"] == ["ALL"]
    assert "no-new-privileges" in " ".join(inspected["HostConfig"]["SecurityOpt"])
    assert not inspected["HostConfig"]["Privileged"]
    assert inspected["HostConfig"]["Memory"] == 3 * 1024**3
    assert rehearsal.on_host("docker exec matinee-app id -u").strip() != "0"
    # With a hop limit of 1 the answer of the metadata service does not reach into the container
    asked = rehearsal.on_host(
        "docker exec matinee-app python3 -c 'import urllib.request as u; u.urlopen(u.Request("
        '"http://169.254.169.254/latest/api/token", method="PUT", '
        'headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"}), timeout=3)\' 2>&1 | tail -1 || true',
    )
    assert "timed out" in asked


def test_dirty_tree_is_refused(checkout: Checkout) -> None:
    stray = checkout.path / "app/src/matinee/stray.py"
    stray.write_text('"""Not committed."""\n')
    run = checkout.play("push.yml")
    stray.unlink()
    assert run.status != 0
    assert "stray.py" in run.output
    assert "allow_dirty" in run.output


def test_a_small_change_is_a_small_push_that_visitors_do_not_notice(checkout: Checkout, url: str) -> None:
    before = checkout.version
    module = checkout.path / "app/src/matinee/__init__.py"
    module.write_text(module.read_text() + "\n# One more line\n")
    checkout.commit("One more line")
    run = checkout.passes("push.yml")
    sent = re.search(r"pushed, ([\d.]+) MB sent", run.output)
    assert sent
    assert float(sent.group(1)) < 1
    with watched(url) as seen:
        assert f"serves version {checkout.version} (in " in checkout.passes("release.yml").output
        assert f"serves version {before} (in " in checkout.passes("rollback.yml").output
        assert f"before: {before})" in checkout.passes("release.yml", "-e", "again=true").output
    assert [version for version, _ in groupby(seen)] == [before, checkout.version, before, checkout.version]
    status = checkout.passes("status.yml").output
    assert f"good versions: {checkout.version}, {before}" in status
    assert re.search(rf"rollback by administrator: {before} served in [\d.]+ s", status)


def test_logs_are_at_hand(checkout: Checkout, url: str) -> None:
    assert f"Matinee {checkout.version} on http" in checkout.passes("logs.yml").output
    follow = ("-e", "of=proxy", "-e", "lines=3", "-e", "follow=true", "-e", "follow_minutes=0.1")
    with watched(url):
        lines = checkout.passes("logs.yml", *follow).output.count('"uri":"/version"')
    assert lines > 3


def test_a_changed_secret_reaches_the_app(rehearsal: Rehearsal, checkout: Checkout) -> None:
    environment = checkout.environment | {"DEMO_TOKEN": "another"}
    assert checkout.passes("site.yml", environment=environment).changed == 1
    checkout.passes("demo-start.yml")
    seen = rehearsal.on_host("docker exec matinee-app sh -c 'cat /proc/[0-9]*/environ' | tr '\\0' '\\n'")
    assert "DEMO_TOKEN=another" in seen
    assert checkout.passes("demo-start.yml").changed == 0


def test_stop_and_start_keep_address_and_data(checkout: Checkout, url: str, page: Page) -> None:
    checkout.passes("demo-stop.yml")
    stopped = checkout.passes("status.yml")
    assert "instance: stopped" in stopped.output
    assert url_in(stopped) == url
    refused_release = checkout.play("release.yml")
    assert refused_release.status != 0
    assert "demo-start.yml" in refused_release.output
    predicted = checkout.passes("demo-start.yml", "--check")
    assert "This is a check" in predicted.output
    assert predicted.changed == 1  # the machine would start
    with pytest.raises(OSError):
        get(f"{url}/health")
    assert f"{url}/ serves version" in checkout.passes("demo-start.yml").output
    visit(page, url, "stMain", "guide.pdf")


def test_an_image_that_never_gets_healthy_is_named_with_its_log(checkout: Checkout, url: str) -> None:
    before = checkout.version
    good = (checkout.path / "Dockerfile").read_text()
    (checkout.path / "Dockerfile").write_text(
        good + '\nCMD ["sh", "-c", "echo the model file is missing; exit 3"]\nENTRYPOINT []\n'
    )
    checkout.commit("Break it")
    checkout.passes("push.yml")
    run = checkout.play("demo-start.yml")
    assert run.status != 0
    assert "the model file is missing" in run.output
    assert f"{url}/ serves version {before}" in run.output
    assert served_version(url) == before
    checkout.git("revert", "--no-edit", "HEAD")
    checkout.passes("push.yml")
    assert f"serves version {checkout.version}" in checkout.passes("demo-start.yml").output


def test_carries_any_image(checkout: Checkout, url: str, page: Page) -> None:
    subprocess.run(
        ["cp", "-r", str(Path(__file__).parents[1] / "apps/plain"), str(checkout.path / "plain")], check=True
    )
    checkout.settings(
        app_context="plain",
        app_dockerfile="",
        app_port=8600,
        app_health_path="/_stcore/health",
        app_data_path="/var/lib/counter",
        app_settings={"GREETING": "the audience"},
    )
    checkout.commit("Another app")
    checkout.passes("site.yml")
    checkout.passes("push.yml")
    checkout.passes("demo-start.yml")
    visit(page, url, "stHeading", "Somebody's own app")
    expect(page.get_by_text("greeting the audience")).to_be_visible()
    expect(page.get_by_text(re.compile(r"Visits: \d+"))).to_be_visible()


def test_destroy_asks_for_the_name(checkout: Checkout) -> None:
    run = checkout.play("destroy.yml", "-e", "confirm=wrong")
    assert run.status != 0
    assert "Nothing was destroyed" in run.output
    assert "instance: running" in checkout.passes("status.yml").output


def test_destroy_backs_up_first_and_keeps_backups(rehearsal: Rehearsal, checkout: Checkout) -> None:
    checkout.passes("demo-stop.yml")
    run = checkout.passes("destroy.yml", "-e", "confirm=ragstream-demo", "-e", "last_backup=true")
    made = re.search(r"data/\d{8}T\d{6}Z-\w+\.tar\.gz", run.output)
    assert made
    assert f"Kept: bucket {BUCKET}" in run.output
    assert f"backups in {BUCKET}" in run.output  # with its price
    assert rehearsal.boto("s3").head_object(Bucket=BUCKET, Key=made.group())
    assert holdings(rehearsal) == {"bucket": 1, "parameter": 1}  # the parameter is another stage's
    assert not checkout.keys.exists()


def test_destroy_leaves_nothing(rehearsal: Rehearsal, checkout: Checkout) -> None:
    run = checkout.passes("destroy.yml", "-e", "confirm=ragstream-demo", "-e", "delete_data=true")
    assert "Nothing that carries the stage's tags is left" in run.output
    assert holdings(rehearsal) == {"parameter": 1}
    assert checkout.passes("destroy.yml", "-e", "confirm=ragstream-demo").changed == 0
