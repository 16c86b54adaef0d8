#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: what is wrong on the host of a stage."""

DOCUMENTATION = r"""
---
module: host_doctor
short_description: Say what is wrong on the host of a stage, and what to do
description:
  - Walks the rest of the chain that M(stage_doctor) begins, on the host itself, and goes on after whatever is
    wrong.
  - Reads only. It never fails for what it finds.
author:
  - The Matinee authors
options:
  domain:
    description: Name that is to lead to the host; empty for none.
    type: str
    default: ""
  address:
    description: The fixed address that it is to lead to.
    type: str
    default: ""
  watch:
    description: Whether the host is to send figures or logs to CloudWatch.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Examine the host
  host_doctor:
    domain: demo.example.org
    address: 203.0.113.25
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
      description: One of V(dns), V(tls), V(container), V(health), V(disk) and V(cloudwatch).
      type: str
      sample: health
    result:
      description: V(ok), V(warn), V(FAIL), or V(-) for what was not looked at.
      type: str
      sample: ok
    says:
      description: What was found, and what to do.
      type: str
      sample: /health answers 200
"""

import http.client
import json
import shutil
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.checks import Checks

CONFIGURATION = Path("/etc/matinee/host.json")
TIMEOUT = 10
WARN_DAYS = 14  # certbot renews a month before the end, at the next start
WARN_PERCENT, FAIL_PERCENT = 85, 95  # of the disk


class Doctor:
    """Looks at one thing after the other, and writes down what it finds."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.domain: str = module.params["domain"]
        self.address: str = module.params["address"]
        self.checks = Checks()

    def examine(self) -> Checks:
        """Look at everything, whatever is wrong on the way."""
        for name, look in CHAIN.items():
            try:
                look(self)
            except (OSError, ValueError, KeyError) as error:
                self.checks.fail(name, f"{type(error).__name__}: {error}", "run site.yml")
        return self.checks

    def look_at_dns(self) -> None:
        """See where the domain leads."""
        if not self.domain:
            self.checks.skip("dns", "there is no app_domain")
            return
        try:
            found = sorted({one[4][0] for one in socket.getaddrinfo(self.domain, 80, socket.AF_INET)})
        except OSError:
            found = []
        if found == [self.address]:
            self.checks.ok("dns", f"{self.domain} leads to {self.address}")
        else:
            leads = " and ".join(map(str, found)) or "nothing"
            remedy = f"make its A record {self.address} where its DNS is; in Route 53, site.yml does"
            self.checks.fail("dns", f"{self.domain} leads to {leads}", remedy)

    def look_at_tls(self) -> None:
        """See that the certificate holds, and for how long."""
        if not self.domain:
            self.checks.skip("tls", "there is no app_domain, so the app is served without")
            return
        try:
            with (
                socket.create_connection(("127.0.0.1", 443), TIMEOUT) as connection,
                ssl.create_default_context().wrap_socket(connection, server_hostname=self.domain) as tls,
            ):
                certificate: Any = tls.getpeercert()
        except (OSError, ssl.SSLError) as error:
            remedy = "see that the name leads here (dns), then run demo-start.yml, which asks for one"
            self.checks.fail("tls", f"no certificate that holds: {error}", remedy)
            return
        days = (ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) / 86400
        if days < WARN_DAYS:
            self.checks.warn("tls", f"the certificate ends in {days:.0f} days", "run demo-start.yml")
        else:
            self.checks.ok("tls", f"the certificate holds for {days:.0f} days")

    def look_at_container(self) -> None:
        """See what the launcher says, and that its container runs."""
        code, active, _ = self.module.run_command(["systemctl", "is-active", "matinee-app.service"])
        if code:
            remedy = "see logs.yml -e of=launcher; `systemctl start matinee-app` on the host starts it"
            self.checks.fail("container", f"the launcher is {active.strip()}", remedy)
            return
        code, said, problem = self.module.run_command(["matinee-host", "status"])
        if code:
            self.checks.fail("container", problem.strip(), "run site.yml")
            return
        status = json.loads(said)
        if status["state"] == "no-image":
            self.checks.fail("container", status["reason"], "run push.yml, then demo-start.yml")
        elif status["state"] == "starting":
            self.checks.warn("container", f"it is being started: {status['step'] or 'wait'}", "wait a minute")
        elif status["state"] != "serving":
            doing = status["step"] or status["reason"]
            self.checks.fail(
                "container", f"nothing serves ({status['state']}): {doing}", "logs.yml says more"
            )
        else:
            self._look_at_serving(status)

    def _look_at_serving(self, status: dict[str, Any]) -> None:
        name = json.loads(CONFIGURATION.read_text())["container"]
        code, running, _ = self.module.run_command(["docker", "inspect", "-f", "{{.State.Status}}", name])
        if code or running.strip() != "running":
            state = "gone" if code else running.strip()
            remedy = "the launcher starts it again within seconds; if not, see logs.yml -e of=launcher"
            self.checks.fail("container", f"it is {state}", remedy)
        elif status["reason"]:
            remedy = "mend and push, or release.yml -e again=true"
            self.checks.warn(
                "container", f"version {status['version']} serves, but {status['reason']}", remedy
            )
        else:
            self.checks.ok("container", f"version {status['version']} serves since {status['since'][:16]}")

    def look_at_health(self) -> None:
        """Ask as a visitor would, beside the door."""
        configured = json.loads(CONFIGURATION.read_text())
        path = configured["health_path"]
        connection = http.client.HTTPConnection(configured["proxy_front"], timeout=TIMEOUT)
        try:
            connection.request("GET", path)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            remedy = "see logs.yml -e of=proxy; `systemctl restart nginx` on the host starts it"
            self.checks.fail("health", f"the proxy does not answer: {error}", remedy)
            return
        finally:
            connection.close()
        if 200 <= status < 300:
            self.checks.ok("health", f"{path} answers {status}")
        else:
            remedy = "logs.yml says what the app says; rollback.yml brings the version before back"
            self.checks.fail("health", f"{path} answers {status}", remedy)

    def look_at_disk(self) -> None:
        """See how full it is."""
        disk = shutil.disk_usage("/")
        percent = 100 * disk.used / (disk.used + disk.free)
        says = f"{percent:.0f} % of {(disk.used + disk.free) / 2**30:.0f} GiB used"
        remedy = "remove data of the app, or back it up and set a larger disk_gb for a new machine"
        if percent >= FAIL_PERCENT:
            self.checks.fail("disk", says, remedy)
        elif percent >= WARN_PERCENT:
            self.checks.warn("disk", says, remedy)
        else:
            self.checks.ok("disk", says)

    def look_at_cloudwatch(self) -> None:
        """See that what is to go to CloudWatch does."""
        if not self.module.params["watch"]:
            self.checks.skip("cloudwatch", "neither watch nor logs_days is on in the settings")
            return
        unit = "matinee-watch.service"
        code, active, _ = self.module.run_command(["systemctl", "is-active", unit])
        if code:
            self.checks.fail("cloudwatch", f"the program that tells it is {active.strip()}", "run site.yml")
            return
        last = [
            "journalctl",
            "--boot",
            f"--unit={unit}",
            "--identifier=matinee-host",
            "--lines=1",
            "--output=cat",
        ]
        _, said, _ = self.module.run_command(last)
        if said.strip().endswith("It is tried again."):
            remedy = "run site.yml, which gives the host its rights"
            self.checks.warn("cloudwatch", said.removesuffix("It is tried again.\n"), remedy)
        else:
            self.checks.ok("cloudwatch", "figures and logs are on their way")


CHAIN: dict[str, Callable[[Doctor], None]] = {
    "dns": Doctor.look_at_dns,
    "tls": Doctor.look_at_tls,
    "container": Doctor.look_at_container,
    "health": Doctor.look_at_health,
    "disk": Doctor.look_at_disk,
    "cloudwatch": Doctor.look_at_cloudwatch,
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "domain": {"type": "str", "default": ""},
            "address": {"type": "str", "default": ""},
            "watch": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, checks=Doctor(module).examine())


if __name__ == "__main__":
    main()
