"""A domain: names in Route 53 which hosts resolve, and certificates from where certbot looks by itself."""

import subprocess
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from tests.local_aws import Rehearsal
from tests.rehearsal.conftest import allow, make_user
from tests.rehearsal.host import Host, wait_until

DOMAIN = "demo.matinee.example"


class Zone:
    """A hosted zone."""

    def __init__(self, rehearsal: Rehearsal, name: str) -> None:
        self.route53 = rehearsal.boto("route53")
        self.id = self.route53.create_hosted_zone(Name=name, CallerReference=name)["HostedZone"]["Id"]

    def change(self, action: str, name: str, *addresses: str) -> None:
        """Create, upsert or delete an A record."""
        values = [{"Value": address} for address in addresses]
        record = {"Name": name, "Type": "A", "TTL": 60, "ResourceRecords": values}
        batch = {"Changes": [{"Action": action, "ResourceRecordSet": record}]}
        self.route53.change_resource_record_sets(HostedZoneId=self.id, ChangeBatch=batch)


@pytest.fixture(scope="module")
def zone(rehearsal: Rehearsal) -> Zone:
    return Zone(rehearsal, "matinee.example")


@pytest.fixture(scope="module")
def site(host: Host, zone: Zone) -> Iterator[Host]:
    """A host with a web server whose Elastic IP the domain leads to, and certbot."""
    zone.change("UPSERT", DOMAIN, host.address)
    host.run(
        "sudo apt-get -qq update && sudo DEBIAN_FRONTEND=noninteractive apt-get -qq install"
        " --no-install-recommends certbot > /dev/null 2>&1"
        " && sudo mkdir -p /srv/www && sudo systemd-run --quiet --unit=www"
        " --working-directory=/srv/www python3 -m http.server 80"
    )
    yield host
    host.run("sudo systemctl stop www")


def _addresses(host: Host, name: str) -> list[str]:
    return sorted(set(host.run(f"getent ahostsv4 {name} | cut -d' ' -f1 || true").split()))


def _certbot(host: Host, domain: str = DOMAIN) -> str:
    return host.run(
        "sudo certbot certonly --non-interactive --agree-tos --register-unsafely-without-email"
        f" --keep-until-expiring --webroot --webroot-path /srv/www --domain {domain} 2>&1 || true"
    )


def test_hosts_resolve_a_record_and_its_changes(host: Host, zone: Zone) -> None:
    name = "changing.matinee.example"
    assert _addresses(host, name) == []
    zone.change("CREATE", name, "192.0.2.1")
    wait_until(lambda: _addresses(host, name) == ["192.0.2.1"])
    zone.change("UPSERT", name, "192.0.2.2", "192.0.2.3")
    wait_until(lambda: _addresses(host, name) == ["192.0.2.2", "192.0.2.3"])
    zone.change("DELETE", name, "192.0.2.2", "192.0.2.3")
    wait_until(lambda: _addresses(host, name) == [])


def test_rights_are_on_one_zone(rehearsal: Rehearsal, zone: Zone) -> None:
    right = allow(["route53:ListResourceRecordSets"], f"arn:aws:route53:::{zone.id.strip('/')}")
    route53 = rehearsal.boto("route53", **make_user(rehearsal, "names", right))

    assert route53.list_resource_record_sets(HostedZoneId=zone.id)["ResourceRecordSets"]
    with pytest.raises(ClientError, match=r"AccessDenied.*route53:ListResourceRecordSets"):
        route53.list_resource_record_sets(HostedZoneId=Zone(rehearsal, "theirs.example").id)
    with pytest.raises(ClientError, match="AccessDenied"):
        route53.list_hosted_zones()


def test_certbot_gets_a_certificate_hosts_and_this_machine_trust(site: Host) -> None:
    assert "Successfully received certificate" in _certbot(site)
    live = f"/etc/letsencrypt/live/{DOMAIN}"
    site.run(
        f"sudo systemd-run --quiet --unit=tls openssl s_server -accept 443 -www"
        f" -cert {live}/cert.pem -cert_chain {live}/chain.pem -key {live}/privkey.pem"
    )
    answer = ["curl", "--silent", "--show-error", "--fail", "--output", "/dev/null", "--retry", "5"]
    answer += ["--retry-connrefused", f"https://{DOMAIN}/"]
    site.run(" ".join(answer))
    from_here = ["--cacert", str(site.rehearsal.dir / "ca.pem"), "--resolve", f"{DOMAIN}:443:{site.address}"]
    subprocess.run([*answer, *from_here], check=True)
    site.run("sudo systemctl stop tls")


def test_certbot_keeps_a_certificate_until_it_is_due(site: Host) -> None:
    _certbot(site)
    assert "not yet due for renewal" in _certbot(site)
    site.run(f"sudo sed -i '1i renew_before_expiry = 100 days' /etc/letsencrypt/renewal/{DOMAIN}.conf")
    assert "Successfully received certificate" in _certbot(site)


def test_a_domain_which_leads_elsewhere_gets_no_certificate(site: Host, zone: Zone) -> None:
    machine = site.rehearsal.env["MATINEE_SSH_FROM"].removesuffix("/32")
    zone.change("UPSERT", "elsewhere.matinee.example", machine)
    assert "Some challenges have failed" in _certbot(site, "elsewhere.matinee.example")
