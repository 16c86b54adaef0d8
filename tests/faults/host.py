"""The host that is broken and has to come back, and the versions it is to serve."""

import contextlib
import copy
import gzip
import hashlib
import io
import itertools
import json
import os
import socket
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests

from tests.local_aws import ROOT, Rehearsal

APP = ROOT / "tests/apps/faulty"
ON_HOST = Path(__file__).parent / "on_host"
REPOSITORY = "faults-web"
PARAMETERS = "/faults/demo/env"
VERSION_LABEL = "org.opencontainers.image.revision"
DRAIN = 5  # seconds
HEALTH_TIMEOUT = 15  # on a machine with much else to do
BLOB = "application/octet-stream"
OPEN_WEBSOCKET = (
    b"GET /_stcore/stream HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: bWF0aW5lZSBpcyB3ZWxsPw==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def wait_until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait for something that nobody tells."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.1)


class Registry:
    """Pushes versions of the faulty app, which differ in their configuration: a push is a few small requests.

    Args:
        rehearsal: The account, to which `push.yml` has pushed a version that is well.
    """

    def __init__(self, rehearsal: Rehearsal) -> None:
        self._ecr = rehearsal.boto("ecr")
        self._numbers = itertools.count(1)
        [login] = self._ecr.get_authorization_token()["authorizationData"]
        self._url = f"{login['proxyEndpoint']}/v2/{REPOSITORY}/blobs"
        self._headers = {"Authorization": f"Basic {login['authorizationToken']}"}
        self._manifest = json.loads(self._find("latest")["imageManifest"])
        found = requests.get(
            f"{self._url}/{self._manifest['config']['digest']}", headers=self._headers, timeout=30
        )
        self._config = found.json()

    def push(self, mode: str = "good", megabytes: int = 0, user: str = "") -> str:
        """Push a version that there never was before, and have `latest` be it.

        Args:
            mode: How it fails.
            megabytes: Size of a layer which only this version has.
            user: Number of the user it runs as, if not the one of all others.

        Returns:
            Its name.
        """
        name = f"v{next(self._numbers)}-{mode}"
        config, manifest = copy.deepcopy(self._config), copy.deepcopy(self._manifest)
        kept = [line for line in config["config"]["Env"] if not line.startswith(("MODE=", "VERSION="))]
        config["config"]["Env"] = [*kept, f"MODE={mode}", f"VERSION={name}"]
        config["config"]["Labels"][VERSION_LABEL] = name
        if user:
            config["config"]["User"] = user
        if megabytes:
            layer = _layer(megabytes * 2**20)
            config["rootfs"]["diff_ids"].append(_digest(layer))
            config["history"].append({"created_by": "ballast"})
            packed = gzip.compress(layer, compresslevel=1)
            manifest["layers"].append(manifest["layers"][0] | self._upload(packed))
        manifest["config"] |= self._upload(json.dumps(config).encode())
        for tag in (name, "latest"):
            self._ecr.put_image(repositoryName=REPOSITORY, imageManifest=json.dumps(manifest), imageTag=tag)
        return name

    def latest_is(self, name: str) -> None:
        """Have `latest` be the version of this name."""
        with contextlib.suppress(self._ecr.exceptions.ImageAlreadyExistsException):
            manifest = self._find(name)["imageManifest"]
            self._ecr.put_image(repositoryName=REPOSITORY, imageManifest=manifest, imageTag="latest")

    def _find(self, tag: str) -> dict[str, Any]:
        answer = self._ecr.batch_get_image(repositoryName=REPOSITORY, imageIds=[{"imageTag": tag}])
        image: dict[str, Any] = answer["images"][0]
        return image

    def _upload(self, blob: bytes) -> dict[str, Any]:
        begun = requests.post(f"{self._url}/uploads/", headers=self._headers, timeout=30)
        place = urljoin(self._url, begun.headers["Location"])
        digest = _digest(blob)
        done = requests.put(
            place, blob, params={"digest": digest}, headers=self._headers | {"Content-Type": BLOB}, timeout=30
        )
        done.raise_for_status()
        return {"digest": digest, "size": len(blob)}


def _layer(size: int) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("ballast")
        entry.size = size
        tar.addfile(entry, io.BytesIO(os.urandom(size)))
    return archive.getvalue()


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


class Host:
    """The one host of the rehearsal.

    Args:
        rehearsal: The account it is in.
        secret: What must be in no log and no file of it.
    """

    def __init__(self, rehearsal: Rehearsal, secret: str) -> None:
        self.ec2 = rehearsal.boto("ec2")
        [reservation] = self.ec2.describe_instances()["Reservations"]
        self.id: str = reservation["Instances"][0]["InstanceId"]
        self.container = f"{rehearsal.name}-{self.id}"
        self.address: str = self.ec2.describe_addresses()["Addresses"][0]["PublicIp"]
        self.secret = secret
        self._looked = 0.0

    # What a person does

    def run(self, script: str, check: bool = True) -> str:
        """Run a shell script as root and return what it printed."""
        command = ["docker", "exec", "-i", self.container, "sh", "-euc", script]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def install(self, file: Path, path: str) -> None:
        """Put a file on it."""
        subprocess.run(["docker", "cp", file, f"{self.container}:{path}"], check=True, capture_output=True)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Have a page of the app open, as a browser has: its websocket stays."""
        with socket.create_connection((self.address, 80)) as connection:
            connection.sendall(OPEN_WEBSOCKET)
            assert b" 101 " in connection.recv(1024)
            yield

    def start(self, command: str) -> subprocess.Popen[str]:
        """Begin one of the launcher's commands."""
        return subprocess.Popen(
            ["docker", "exec", self.container, "matinee-host", *command.split()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(self, command: str) -> tuple[int, str]:
        """Have the launcher do something; returns the exit code, and what was said to people."""
        process = self.start(command)
        _, said = process.communicate(timeout=180)
        return process.returncode, said

    def does(self, command: str) -> None:
        """Have the launcher do something that it can do."""
        code, said = self.ask(command)
        assert code == 0, said

    def status(self) -> dict[str, Any]:
        """What the launcher says of itself."""
        status: dict[str, Any] = json.loads(self.run("cat /run/matinee/status.json"))
        return status

    def state(self) -> dict[str, Any]:
        """What the launcher remembers; on a new host there is nothing yet."""
        file = "/var/lib/matinee/state.json"
        state: dict[str, Any] = json.loads(self.run(f"cat {file} 2> /dev/null || echo '{{\"good\": []}}'"))
        return state

    def rests(self) -> None:
        """Wait until the launcher serves something and has nothing under way."""

        def resting() -> bool:
            status = self.status()
            return status["state"] == "serving" and not status["step"]

        wait_until(resting, "the launcher rests")

    def is_tidy(self) -> None:
        """Wait until one container is left, and no file with parameters."""
        look = "docker ps -a --format '{{.Names}}'; ls /run/matinee/env 2> /dev/null || true"
        wait_until(lambda: self.run(look) == "matinee-app", "one container is left")

    def is_back(self) -> None:
        """Wait until the launcher runs and takes requests."""
        wait_until(lambda: self.ask("show")[0] == 0, "the launcher is back")

    # What goes wrong

    def break_at(self, how: str, function: str) -> None:
        """Have the launcher killed ("kill") or stand still ("hang") once, when this function of it begins."""
        self.run(f"echo {how} {function} > /run/matinee/break")

    def wait_broken(self) -> None:
        """Wait until it is so."""
        self.waits_for("ls /run/matinee/broken")

    def waits_for(self, command: str) -> None:
        """Wait until a command succeeds on the host; if it never does, show what was logged there."""
        loop = f"until {command} > /dev/null 2>&1; do sleep 0.05; done"
        journal = "journalctl --no-pager --lines 60 --unit matinee-app --unit docker"
        self.run(f"timeout 60 sh -c '{loop}' || {{ {journal}; exit 1; }}")

    def mend(self) -> None:
        """Let what stands still go on."""
        self.run("rm -f /run/matinee/break /run/matinee/broken")

    def pull_the_plug(self) -> None:
        """Take its power away, and give it back by the API."""
        subprocess.run(["docker", "kill", self.container], check=True, capture_output=True)
        self.wait_power("stopped")

    def power_on(self) -> None:
        """Start it."""
        self.ec2.start_instances(InstanceIds=[self.id])

    def power_off(self) -> None:
        """Stop it."""
        self.ec2.stop_instances(InstanceIds=[self.id])
        self.wait_power("stopped")

    def wait_power(self, state: str, seconds: float = 60) -> None:
        """Wait until the API calls it running or stopped."""
        wait_until(lambda: self.power() == state, f"the host is {state}", seconds)

    def power(self) -> str:
        """What the API calls it."""
        [reservation] = self.ec2.describe_instances(InstanceIds=[self.id])["Reservations"]
        return str(reservation["Instances"][0]["State"]["Name"])

    @contextlib.contextmanager
    def mounted(self, folder: str, megabytes: float) -> Iterator[None]:
        """Have a disk of this size in the place of a folder, with what is in the folder."""
        size = int(megabytes * 2**20)
        self.run(f"mkdir -p /run/disk && mount -t tmpfs -o mode=700,size={size} disk /run/disk")
        self.run(f"cp -a {folder}/. /run/disk && mount --bind /run/disk {folder}")
        try:
            yield
        finally:
            self.run(f"umount {folder} && cp -a /run/disk/. {folder} && umount /run/disk")

    @contextlib.contextmanager
    def clock(self, wrong: str) -> Iterator[None]:
        """Have the launcher's clock be wrong by so much."""
        self.run("command -v faketime > /dev/null || apt-get -qq install faketime > /dev/null 2>&1")
        library = self.run("dpkg -L libfaketime | grep '/libfaketime.so.1$'")
        unit = "/run/systemd/system/matinee-app.service.d/clock.conf"
        variables = f"LD_PRELOAD={library} FAKETIME={wrong} FAKETIME_DONT_FAKE_MONOTONIC=1"
        drop_in = f"[Service]\\nEnvironment={variables}\\n"
        restart = "systemctl daemon-reload; systemctl kill --signal KILL matinee-app"
        self.run(f"mkdir -p {Path(unit).parent}; printf '{drop_in}' > {unit}; {restart}")
        self.is_back()
        try:
            yield
        finally:
            self.run(f"rm {unit}; {restart}")
            self.is_back()

    # What must not be

    def leaks(self) -> list[str]:
        """Where on the host the secret is, of what has been written since this was asked last."""
        script = LEAKS.format(secret=self.secret, since=self._looked)
        self._looked = time.time() - 2
        command = ["docker", "exec", "-i", self.container, "python3", "-"]
        done = subprocess.run(command, input=script, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()


# Given by standard input: the secret is in no argument and no file
LEAKS = r"""
import pathlib, subprocess
secret = {secret!r}.encode()

def printed(*command):
    return subprocess.run(command, capture_output=True).stdout

places = ["/etc", "/home", "/opt", "/root", "/srv", "/tmp", "/usr/local", "/var", "/var/lib/docker"]
names = printed("find", *places, "-xdev", "-type", "f", "-newerct", "@{since}", "-print0")
for name in filter(None, names.split(b"\0")):
    try:
        found = secret in pathlib.Path(name.decode()).read_bytes()
    except OSError:
        continue  # gone by now
    if found:
        print(name.decode())
if secret in printed("journalctl", "--no-pager", "--all", "--output=export", "--since=@{since}"):
    print("the journal")
containers = printed("docker", "ps", "-aq").decode().split()
if containers and secret in printed("docker", "inspect", *containers):
    print("docker inspect")
for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    try:
        if secret in path.read_bytes():
            print(path)
    except OSError:
        continue
"""
