"""What the host roles write, rendered by Ansible and read by who will read it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from matinee_host.model import ExitCode, load_config

from tests.local_aws import ROOT

TOOLS = Path(sys.executable).parent
APP, PROXY = ROOT / "roles/host_app", ROOT / "roles/host_proxy"
TEMPLATES = [
    APP / "templates/host.json",
    APP / "templates/matinee-app.service",
    PROXY / "templates/matinee-certificate",
]
SETTINGS = {
    "host_app_region": "eu-central-1",
    "host_app_repository": "ragstream-web",
    "host_app_parameters_path": "/ragstream/demo/env",
    "host_app_health_path": '/health?"quoted"&é',
    "host_app_health_timeout": 45,
    "host_app_user": 4712,
    "host_proxy_domain": "demo.example.org",
    "host_proxy_acme_email": "it's@example.org",
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the roles' templates, filled in."""
    folder = tmp_path_factory.mktemp("rendered")
    for template in TEMPLATES:
        subprocess.run(
            [
                TOOLS / "ansible",
                "localhost",
                "--module-name=ansible.builtin.template",
                f"--args=src={template} dest={folder}/{template.name} mode=0644",
                f"--extra-vars=@{template.parents[1]}/defaults/main.yml",
                f"--extra-vars={json.dumps(SETTINGS)}",
            ],
            cwd=folder,
            check=True,
        )
    return folder


def test_the_launcher_takes_its_configuration(rendered: Path) -> None:
    config = load_config(rendered / "host.json")
    assert (config.repository, config.port, config.health_timeout) == ("ragstream-web", 8501, 45)
    assert (config.health_path, config.user) == ('/health?"quoted"&é', "4712")
    assert (config.read_only, config.keep_images, config.idle_minutes) == (True, 3, 0)


@pytest.mark.usefixtures("rehearsal")  # which makes the image of the hosts
def test_systemd_takes_the_units(rendered: Path) -> None:
    install = "cd /usr/local/sbin; install -m 755 /dev/null matinee-host; cp matinee-host matinee-certificate"
    verify = "systemd-analyze verify /rendered/*.service /proxy/*.service /proxy/*.timer"
    volumes = [f"--volume={rendered}:/rendered:ro", f"--volume={PROXY}/files:/proxy:ro"]
    run = ["docker", "run", "--rm", "--entrypoint=sh", *volumes, "matinee-host", "-c"]
    done = subprocess.run([*run, f"{install}; {verify}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    unit = (rendered / "matinee-app.service").read_text()
    assert f"RestartPreventExitStatus={ExitCode.BAD_CONFIG}\n" in unit


def test_the_shell_takes_the_command_that_gets_certificates(rendered: Path) -> None:
    subprocess.run([TOOLS / "shellcheck", rendered / "matinee-certificate"], check=True)
