"""A domain, as a user gives the stage one: its record, its certificate, and HTTPS that strangers trust."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.checkout import ROOT, Checkout, words
from tests.local_aws import Rehearsal

DOMAIN = "demo.matinee.example"


@pytest.fixture(scope="module")
def stage(checkout: Checkout) -> Iterator[Checkout]:
    """A stage with a small app and a domain, of which the account knows nothing yet."""
    settings = checkout.path / "inventory/demo/group_vars/all.yml"
    before = settings.read_text()
    shutil.copytree(ROOT / "tests/apps/faulty", checkout.path / "small")
    checkout.settings(
        app_domain=DOMAIN, app_context="small", app_dockerfile="", app_memory="64m", app_health_timeout=20
    )
    checkout.commit("A domain")
    yield checkout
    settings.write_text(before)
    checkout.commit("No domain")


def visit(rehearsal: Rehearsal, url: str) -> tuple[int, dict[str, str]]:
    """Ask as a stranger does who trusts the certificate authorities; return status and headers."""
    [address] = rehearsal.boto("ec2").describe_addresses()["Addresses"]
    command = ["curl", "--silent", "--show-error", "--dump-header", "-", "--output", "/dev/null"]
    command += ["--cacert", str(rehearsal.dir / "ca.pem")]
    for port in (80, 443):
        command += ["--resolve", f"{DOMAIN}:{port}:{address['PublicIp']}"]
    told = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout.splitlines()
    headers = (line.split(": ", 1) for line in told[1:] if line)
    return int(told[0].split()[1]), {name.lower(): value for name, value in headers}


def records(rehearsal: Rehearsal) -> dict[str, tuple[int, list[str]]]:
    """Return TTL and values of every A record of the account."""
    route53 = rehearsal.boto("route53")
    return {
        record["Name"]: (record["TTL"], [value["Value"] for value in record["ResourceRecords"]])
        for zone in route53.list_hosted_zones()["HostedZones"]
        for record in route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
        if record["Type"] == "A"
    }


def test_domain_of_another_account_is_told_which_record_it_needs(
    rehearsal: Rehearsal, stage: Checkout
) -> None:
    run = stage.passes("site.yml")
    [address] = rehearsal.boto("ec2").describe_addresses()["Addresses"]
    assert f"{DOMAIN}. 60 IN A {address['PublicIp']}" in run.output

    stage.passes("push.yml")
    started = stage.play("demo-start.yml")
    assert started.status != 0
    assert f"http://{address['PublicIp']}/ serves version" in started.output
    assert f"there is no certificate for {DOMAIN}" in words(started.output)
    assert visit(rehearsal, f"http://{DOMAIN}/")[0] == 200


def make_zone(rehearsal: Rehearsal, name: str) -> str:
    """Make a hosted zone; returns its number."""
    made = rehearsal.boto("route53").create_hosted_zone(Name=name, CallerReference=name)
    return str(made["HostedZone"]["Id"])


@contextmanager
def record_by_hand(rehearsal: Rehearsal, zone: str, name: str, address: str) -> Iterator[None]:
    """An A record with a TTL of its own, which must still be there in the end."""
    record = {"Name": name, "Type": "A", "TTL": 300, "ResourceRecords": [{"Value": address}]}

    def change(action: str) -> None:
        changes = [{"Action": action, "ResourceRecordSet": record}]
        rehearsal.boto("route53").change_resource_record_sets(
            HostedZoneId=zone, ChangeBatch={"Changes": changes}
        )

    change("CREATE")
    yield
    change("DELETE")


def test_record_made_by_hand_is_left_alone(rehearsal: Rehearsal, stage: Checkout) -> None:
    [address] = rehearsal.boto("ec2").describe_addresses()["Addresses"]
    zone = make_zone(rehearsal, "matinee.example")
    with record_by_hand(rehearsal, zone, DOMAIN, address["PublicIp"]):
        assert stage.passes("playbooks/provision.yml").changed == 0  # nor is it tagged as the stage's
        assert records(rehearsal) == {f"{DOMAIN}.": (300, [address["PublicIp"]])}


def test_hosted_zone_of_this_account_is_used(rehearsal: Rehearsal, stage: Checkout) -> None:
    make_zone(rehearsal, "example")  # the nearest one is meant
    run = stage.passes("site.yml")
    assert run.changed == 2  # the address, which remembers its record, and that
    [address] = rehearsal.boto("ec2").describe_addresses()["Addresses"]
    assert records(rehearsal) == {f"{DOMAIN}.": (60, [address["PublicIp"]])}
    assert f"The stage stands at https://{DOMAIN}/" in run.output
    assert stage.passes("playbooks/provision.yml").changed == 0


def test_start_has_a_certificate_that_strangers_trust(rehearsal: Rehearsal, stage: Checkout) -> None:
    assert f"https://{DOMAIN}/ serves version" in stage.passes("demo-start.yml").output
    status, headers = visit(rehearsal, f"https://{DOMAIN}/")
    assert status == 200
    assert "max-age=" in headers["strict-transport-security"]
    status, headers = visit(rehearsal, f"http://{DOMAIN}/a?b=c")
    assert (status, headers["location"]) == (301, f"https://{DOMAIN}/a?b=c")
    assert "strict-transport-security" not in headers


def test_status_says_where_the_domain_leads(rehearsal: Rehearsal, stage: Checkout) -> None:
    output = stage.passes("status.yml").output
    [address] = rehearsal.boto("ec2").describe_addresses()["Addresses"]
    assert f"url: https://{DOMAIN}/" in output
    assert f"dns: {DOMAIN} leads to {address['PublicIp']}\n" in output
    assert "certificate: holds" in output
    assert "health: healthy" in output


def serial(rehearsal: Rehearsal) -> str:
    """Return the serial number of the certificate which visitors are shown."""
    [address] = rehearsal.boto("ec2").describe_addresses()["Addresses"]
    shown = ssl.get_server_certificate((address["PublicIp"], 443))
    return subprocess.run(
        ["openssl", "x509", "-noout", "-serial"], input=shown, check=True, capture_output=True, text=True
    ).stdout


def test_start_renews_a_certificate_that_is_due(rehearsal: Rehearsal, stage: Checkout) -> None:
    before = serial(rehearsal)
    stage.passes("demo-start.yml")
    assert serial(rehearsal) == before
    rehearsal.on_host(f"sed -i '1i renew_before_expiry = 40000 days' /etc/letsencrypt/renewal/{DOMAIN}.conf")
    stage.passes("demo-stop.yml")
    stage.passes("demo-start.yml")
    assert serial(rehearsal) != before
    assert visit(rehearsal, f"https://{DOMAIN}/")[0] == 200


def test_a_domain_that_leads_elsewhere_leaves_plain_http(rehearsal: Rehearsal, stage: Checkout) -> None:
    stage.settings(app_domain="demo.elsewhere.example")
    stage.passes("playbooks/configure.yml")
    started = stage.play("demo-start.yml")
    assert started.status != 0
    assert "there is no certificate for demo.elsewhere.example" in words(started.output)
    [address] = rehearsal.boto("ec2").describe_addresses()["Addresses"]
    assert visit(rehearsal, f"http://{address['PublicIp']}/")[0] == 200


def test_another_domain_takes_the_place_of_the_first(rehearsal: Rehearsal, stage: Checkout) -> None:
    stage.settings(app_domain="show.matinee.example")
    stage.passes("playbooks/provision.yml")
    assert list(records(rehearsal)) == ["show.matinee.example."]


def test_record_goes_with_the_stage(rehearsal: Rehearsal, stage: Checkout) -> None:
    run = stage.passes("destroy.yml", "-e", "confirm=ragstream-demo")
    assert "record  show.matinee.example" in run.output
    assert records(rehearsal) == {}
