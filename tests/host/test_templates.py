"""What the host_app role writes, rendered by Ansible and read by who will read it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from matinee_host.model import load_config

from tests.local_aws import ROOT

ROLE = ROOT / "roles/host_app"
SETTINGS = {
    "host_app_region": "eu-central-1",
    "host_app_repository": "ragstream-web",
    "host_app_parameters_path": "/ragstream/demo/env",
    "host_app_health_path": '/health?"quoted"&é',
    "host_app_health_timeout": 45,
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the role's templates, filled in."""
    folder = tmp_path_factory.mktemp("rendered")
    for name in ("host.json", "matinee-app.service"):
        subprocess.run(
            [
                Path(sys.executable).with_name("ansible"),
                "localhost",
                "--module-name=ansible.builtin.template",
                f"--args=src={ROLE}/templates/{name} dest={folder}/{name} mode=0644",
                f"--extra-vars=@{ROLE}/defaults/main.yml",
                f"--extra-vars={json.dumps(SETTINGS)}",
            ],
            cwd=folder,
            check=True,
        )
    return folder


def test_the_launcher_takes_its_configuration(rendered: Path) -> None:
    config = load_config(rendered / "host.json")
    assert (config.repository, config.port, config.health_timeout) == ("ragstream-web", 8501, 45)
    assert config.health_url == 'http://127.0.0.1:80/health?"quoted"&é'


@pytest.mark.usefixtures("rehearsal")  # which makes the image of the hosts
def test_systemd_takes_the_unit(rendered: Path) -> None:
    verify = "install -m 755 /dev/null /usr/local/sbin/matinee-host; systemd-analyze verify /unit/*.service"
    run = ["docker", "run", "--rm", "--entrypoint=sh", f"--volume={rendered}:/unit:ro", "matinee-host", "-c"]
    done = subprocess.run([*run, verify], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "TimeoutStartSec=945" in (rendered / "matinee-app.service").read_text()
