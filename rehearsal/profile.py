"""The files through which ordinary AWS tools find the rehearsal."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from rehearsal.aws.layout import Layout

ROOT = Path(__file__).parent.parent
REGION = "eu-central-1"
PROFILE = "rehearsal"
# Each of these would win over the profile
OVERRIDES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CA_BUNDLE",
)


def folder(name: str) -> Path:
    """Where a rehearsal's files are."""
    return ROOT / ".rehearsal" / name


def write(name: str, port: int, layout: Layout, key: Mapping[str, str], authorities: bytes) -> Path:
    """Write `config`, `credentials`, `ca.pem` and `activate`; returns the path of `activate`."""
    place = folder(name)
    place.mkdir(parents=True, exist_ok=True)
    (place / "config").write_text(
        f"[profile {PROFILE}]\nregion = {REGION}\nendpoint_url = http://127.0.0.1:{port}\n"
        # The gateway as hosts reach it, too: addresses of objects that are signed here are used there
        f"services = {PROFILE}\n\n[services {PROFILE}]\ns3 =\n  endpoint_url = http://{layout.gateway}\n"
    )
    (place / "ca.pem").write_bytes(authorities)
    credentials = place / "credentials"
    credentials.touch(mode=0o600)
    credentials.write_text(
        f"[{PROFILE}]\naws_access_key_id = {key['access_key_id']}\n"
        f"aws_secret_access_key = {key['secret_access_key']}\n"
    )
    activate = place / "activate"
    activate.write_text(
        f"# Point this shell at the rehearsal '{name}':  . {activate.relative_to(ROOT)}\n"
        f"unset {' '.join(OVERRIDES)}\n"
        f"export AWS_CONFIG_FILE='{place / 'config'}'\n"
        f"export AWS_SHARED_CREDENTIALS_FILE='{credentials}'\n"
        f"export AWS_PROFILE={PROFILE}\n"
        "# From where this machine reaches a host at its Elastic IP\n"
        f"export MATINEE_SSH_FROM={layout.machine}/32\n"
        "# What stands in for AWS's plugin\n"
        f"export AWS_SESSION_MANAGER_PLUGIN='{Path(__file__).parent / 'session-manager-plugin'}'\n"
        f"export PATH='{ROOT / '.venv' / 'bin'}':\"$PATH\"\n"
    )
    return activate


def remove(name: str) -> None:
    """Remove a rehearsal's files."""
    shutil.rmtree(folder(name), ignore_errors=True)
