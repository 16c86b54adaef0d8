"""A rehearsal as the tests use it: made and taken away by its own commands, and broken for a while."""

import configparser
import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import docker
from docker.models.containers import Container

ROOT = Path(__file__).resolve().parents[1]

# The gateway's names as hosts call them; whoever comes over the loopback of this machine meets no fault
REGISTRY = r"~^[0-9]+\.dkr\.ecr\."
SSM = r"~^ssm\."
APIS = rf"{SSM} ~^api\.ecr\."
CLOUDWATCH = r"~^logs\. ~^monitoring\."


@dataclass(frozen=True)
class Rehearsal:
    """A local AWS.

    Attributes:
        name: Its name, the prefix of its containers.
        port: Port of its API on 127.0.0.1.
        dir: Folder of its files.
        env: Environment in which any AWS tool works on it.
    """

    name: str
    port: int
    dir: Path
    env: dict[str, str]

    def boto(self, service: str, **options: Any) -> Any:
        """A boto3 client, the administrator's unless options say otherwise."""
        credentials = configparser.ConfigParser()
        credentials.read(self.dir / "credentials")
        defaults = {"endpoint_url": f"http://127.0.0.1:{self.port}", "region_name": "eu-central-1"}
        make: Any = boto3.client
        return make(service, **{**defaults, **credentials["rehearsal"], **options})

    def trail(self) -> list[dict[str, Any]]:
        """Every decision of IAM so far, the oldest first: at, who, action, resource, allowed."""
        container = docker.from_env().containers.get(f"{self.name}-aws")
        status, output = container.exec_run(["cat", "/var/log/rehearsal/trail.jsonl"])
        assert status == 0, output
        return [json.loads(line) for line in output.decode().splitlines()]

    def token(self, **claims: Any) -> str:
        """A token as GitHub gives it to a workflow's job, with these claims."""
        container = docker.from_env().containers.get(f"{self.name}-aws")
        status, output = container.exec_run(["python", "-m", "aws.github", json.dumps(claims)])
        assert status == 0, output
        return str(output.decode())

    def on_host(self, script: str) -> str:
        """Run a script as root on the one host that runs; returns what it printed."""
        label = [f"matinee.rehearsal={self.name}", "matinee.rehearsal.instance"]
        [host] = docker.from_env().containers.list(filters={"label": label})
        patient = [flag for one in PATIENT.split() for flag in ("--env", one)]
        command = ["docker", "exec", "--interactive", *patient, str(host.name), "sh", "-eu"]
        return subprocess.run(command, input=script, check=True, capture_output=True, text=True).stdout

    def allowed_to_host(self, calls: str) -> list[str]:
        """Make calls on the host, with the rights of its role; returns "allowed" or "refused" for each.

        Args:
            calls: Lines of Python: `ask(s3.list_buckets)`; client() makes the clients.
        """
        return self.on_host(f"python3 - <<'END'\n{ASKING}{calls}\nEND\n").split()


def run_rehearsal(*arguments: str, port: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run `python -m rehearsal` as a person would."""
    env = {**os.environ, "REHEARSAL_PORT": str(port or "")}
    command = [sys.executable, "-m", "rehearsal", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@contextmanager
def standing(name: str, port: int) -> Iterator[Rehearsal]:
    """A rehearsal that stands for as long as it is used."""
    try:
        up = run_rehearsal("up", "--name", name, port=port)
        assert up.returncode == 0, up.stderr
        folder = ROOT / ".rehearsal" / name
        activate = ["sh", "-c", '. "$1" && env -0', "sh", str(folder / "activate")]
        printed = subprocess.run(activate, capture_output=True, text=True, check=True).stdout
        env = dict(line.split("=", 1) for line in printed.split("\0") if line)
        yield Rehearsal(name, port, folder, env)
    finally:
        run_rehearsal("down", "--name", name)


def free_port() -> int:
    """A port of the loopback nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def registry_down(rehearsal: Rehearsal, *, silent: bool = False) -> Iterator[None]:
    """The registry closes every connection at once, or (silent) never answers."""
    with _down(rehearsal, REGISTRY, silent=silent):
        yield


@contextmanager
def registry_slow(rehearsal: Rehearsal, bytes_per_second: int) -> Iterator[None]:
    """Each connection to the registry brings no more than this."""
    pace = f"limit_rate {bytes_per_second}; proxy_buffering on; proxy_max_temp_file_size 0;"
    with _taken_over(rehearsal, REGISTRY, f"{pace} location / {{ proxy_pass http://127.0.0.1; }}"):
        yield


@contextmanager
def registry_refusing(rehearsal: Rehearsal, status: int = 403) -> Iterator[None]:
    """The registry takes no token: 403 as if it had expired, 401 as if there were none."""
    message = "Your authorization token has expired. Reauthenticate and try again."
    body = json.dumps({"errors": [{"code": "DENIED", "message": message}]})
    challenge = "add_header WWW-Authenticate 'Basic realm=\"ecr\"' always;" if status == 401 else ""
    with _taken_over(
        rehearsal,
        REGISTRY,
        f"default_type application/json; {challenge} location / {{ return {status} '{body}'; }}",
    ):
        yield


@contextmanager
def registry_cutting(rehearsal: Rehearsal, after_bytes: int) -> Iterator[None]:
    """Every answer of the registry breaks off after so many bytes; shorter ones come whole."""
    with (
        _beside_gateway(rehearsal, CUTTING, str(after_bytes)) as port,
        _taken_over(rehearsal, REGISTRY, f"location / {{ proxy_pass http://127.0.0.1:{port}; }}"),
    ):
        yield


@contextmanager
def api_down(rehearsal: Rehearsal, *, silent: bool = False) -> Iterator[None]:
    """The APIs of ECR and SSM close every connection at once, or (silent) never answer."""
    with _down(rehearsal, APIS, silent=silent):
        yield


@contextmanager
def ssm_down(rehearsal: Rehearsal, *, silent: bool = False) -> Iterator[None]:
    """As api_down, SSM alone."""
    with _down(rehearsal, SSM, silent=silent):
        yield


@contextmanager
def cloudwatch_down(rehearsal: Rehearsal, *, silent: bool = False) -> Iterator[None]:
    """As api_down, CloudWatch and its logs alone."""
    with _down(rehearsal, CLOUDWATCH, silent=silent):
        yield


@contextmanager
def ssm_denied(rehearsal: Rehearsal) -> Iterator[None]:
    """IAM refuses the roles of all hosts whatever they ask of SSM."""
    iam = rehearsal.boto("iam")
    profiles = iam.list_instance_profiles()["InstanceProfiles"]
    roles = {role["RoleName"] for profile in profiles for role in profile["Roles"]}
    statement = {"Effect": "Deny", "Action": "ssm:*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    for role in roles:
        iam.put_role_policy(RoleName=role, PolicyName="fault", PolicyDocument=document)
    try:
        yield
    finally:
        for role in roles:
            iam.delete_role_policy(RoleName=role, PolicyName="fault")


@contextmanager
def _down(rehearsal: Rehearsal, hosts: str, *, silent: bool) -> Iterator[None]:
    if not silent:
        with _taken_over(rehearsal, hosts, "return 444;"):
            yield
        return
    with (
        _beside_gateway(rehearsal, SILENT) as port,
        _taken_over(rehearsal, hosts, f"location / {{ proxy_pass http://127.0.0.1:{port}; }}"),
    ):
        yield


@contextmanager
def _taken_over(rehearsal: Rehearsal, hosts: str, directives: str) -> Iterator[None]:
    """Let the gateway answer for hostnames in another way, requests under way included."""
    gateway = docker.from_env().containers.get(f"{rehearsal.name}-gateway")
    path = f"/etc/nginx/faults/{uuid.uuid4().hex}.conf"
    server = f"server {{ listen 443 ssl; server_name {hosts}; {directives} }}"
    try:
        _run(gateway, 'mkdir -p /etc/nginx/faults && printf %s "$2" > "$1"', path, server)
        _run(gateway, RELOAD)
        yield
    finally:
        _run(gateway, 'rm -f "$1"', path)
        _run(gateway, RELOAD)


@contextmanager
def _beside_gateway(rehearsal: Rehearsal, program: str, *arguments: str) -> Iterator[int]:
    """A Python program on the gateway's loopback; gives the port that it has printed."""
    engine = docker.from_env()
    gateway = engine.containers.get(f"{rehearsal.name}-gateway")
    helper = engine.containers.run(
        gateway.image,
        ["python", "-uc", program, *arguments],
        detach=True,
        network_mode=f"container:{gateway.id}",
        labels={"matinee.rehearsal": rehearsal.name},
    )
    try:
        yield int(next(helper.logs(stream=True, follow=True)))
    finally:
        helper.remove(v=True, force=True)


def _run(container: Container, script: str, *arguments: str) -> None:
    status, output = container.exec_run(["sh", "-euc", script, "sh", *arguments])
    assert status == 0, output


# Until no worker with the old configuration is left
RELOAD = """
old=$(cat /proc/1/task/1/children)
nginx -s reload
for pid in $old; do
  while [ -e "/proc/$pid" ]; do sleep 0.05; done
done
"""

SILENT = """
import signal, socket
server = socket.create_server(("127.0.0.1", 0), backlog=1000)
print(server.getsockname()[1])
signal.pause()
"""

CUTTING = """
import contextlib, socket, sys, threading

def pass_on(source, target, limit):
    with contextlib.suppress(OSError):
        while limit > 0 and (data := source.recv(min(limit, 65536))):
            target.sendall(data)
            limit -= len(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)

server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1])
while True:
    client, _ = server.accept()
    registry = socket.create_connection(("127.0.0.1", 80))
    for way in ((client, registry, sys.maxsize), (registry, client, int(sys.argv[1]))):
        threading.Thread(target=pass_on, args=way, daemon=True).start()
"""

# boto3 asks the metadata service once, for a second: too little on a machine with much else to do
PATIENT = "AWS_METADATA_SERVICE_TIMEOUT=5 AWS_METADATA_SERVICE_NUM_ATTEMPTS=5"

ASKING = """
import boto3
from botocore.exceptions import ClientError

def client(name):
    return boto3.client(name, region_name="eu-central-1")

def ask(call, **arguments):
    try:
        call(**arguments)
        print("allowed")
    except ClientError as error:
        print("refused" if "AccessDenied" in error.response["Error"]["Code"] else error)

"""
