"""A container for every emulated instance, following its state; and the state following the container.

An API call only asks for a change (pending, stopping, shutting-down). The reconciler makes it, then says so,
so that waiters wait for the real thing. A host which powers itself off becomes a stopped instance.
"""

import contextlib
import copy
import functools
import io
import logging
import tarfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
import requests
from docker.errors import APIError, NotFound
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import Instance, InstanceState

from .mend import mends
from .settings import ACCOUNT, Settings
from .trust import authorities

HOST_IMAGE = "matinee-host"
LABEL = "matinee.rehearsal"
INSTANCE_LABEL = "matinee.rehearsal.instance"
INTERVAL = 1.0
STOP_SECONDS = 60
EXIT_OF_REBOOT = 129
"""Exit status of a container whose first process called for a reboot, not for power-off."""

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}

PowerSwitch = Callable[[Instance], InstanceState]

log = logging.getLogger(__name__)


class Reconciler:
    """Makes the containers what the account says they are."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.docker = docker.APIClient(version="auto", timeout=STOP_SECONDS + 60)
        self.wake = threading.Event()
        self.workers = ThreadPoolExecutor(max_workers=8)
        self.busy: set[str] = set()
        self.reboots: set[str] = set()

    def install(self) -> None:
        """Let the API calls which change an instance's power state only ask for it."""

        @mends(Instance, "__init__")
        def create(
            original: Callable[..., None], instance: Instance, *args: object, **kwargs: object
        ) -> None:
            original(instance, *args, **kwargs)
            self._ask(instance, "pending")

        @mends(Instance, "start")
        def start(original: PowerSwitch, instance: Instance) -> InstanceState:
            if instance.state in ("pending", "running"):
                return copy.copy(instance.instance_state)
            _require(instance, "started", "stopped")
            previous = original(instance)
            self._ask(instance, "pending")
            return previous

        @mends(Instance, "stop")
        def stop(original: PowerSwitch, instance: Instance) -> InstanceState:
            if instance.state in ("stopping", "stopped"):
                return copy.copy(instance.instance_state)
            _require(instance, "stopped", "pending", "running")
            previous = original(instance)
            self._ask(instance, "stopping")
            return previous

        @mends(Instance, "terminate")
        def terminate(original: PowerSwitch, instance: Instance) -> InstanceState:
            if instance.state in ("shutting-down", "terminated"):
                return copy.copy(instance.instance_state)
            previous = original(instance)
            self._ask(instance, "shutting-down")
            return previous

        @mends(Instance, "reboot")
        def reboot(_original: object, instance: Instance) -> None:
            _require(instance, "rebooted", "pending", "running")
            self.reboots.add(instance.id)
            self.wake.set()

    def run(self) -> None:
        """Reconcile for ever, every second and whenever something was asked for."""
        while True:
            try:
                self.reconcile()
            except (APIError, requests.RequestException) as error:
                log.warning("docker does not answer: %s", error)
            self.wake.wait(INTERVAL)
            self.wake.clear()

    def reconcile(self) -> None:
        """One round: hand what is to be done for each instance to a worker."""
        known = {instance.id: instance for instance in self._instances()}
        containers = self._containers()
        for instance in known.values():
            change = self._change(instance, containers.get(instance.id))
            if change:
                self._submit(instance.id, change)
        for instance_id in containers.keys() - known.keys():
            # Left from an account that is gone, because this process was started anew
            self._submit(instance_id, functools.partial(self._remove, instance_id))

    def _ask(self, instance: Instance, state: str) -> None:
        _set_state(instance, state)
        self.wake.set()

    def _change(self, instance: Instance, container: dict[str, Any] | None) -> Callable[[], None] | None:
        running = container is not None and container["State"] == "running"
        match instance.state:
            case "pending":
                return lambda: self._start(instance, container)
            case "running" if instance.id in self.reboots:
                return lambda: self._reboot(instance)
            case "running" if not running:
                return lambda: self._fallen(instance)
            case "stopping":
                return lambda: self._stop(instance)
            case "shutting-down":
                return lambda: self._terminate(instance)
            case "running" | "stopped" if container and self._attached(container) != instance.public_ip:
                return lambda: self._attach(instance, self._attached(container))
        return None

    def _start(self, instance: Instance, container: dict[str, Any] | None) -> None:
        name = self._name(instance)
        try:
            if container is None:
                self._create(instance)
            attached = self._attached(container) if container else None
            if attached != instance.public_ip:
                self._attach(instance, attached)
            self.docker.start(name)
        except APIError as error:
            log.exception("%s cannot be started", instance.id)
            self._remove(instance.id)
            _set_state(instance, "terminated")
            instance.state_reason.code = "Server.InternalError"
            instance.state_reason.message = f"Server.InternalError: {error.explanation}"
            return
        _set_state(instance, "running", only_if="pending")

    def _stop(self, instance: Instance) -> None:
        with contextlib.suppress(NotFound):  # stopped before it was made
            self.docker.stop(self._name(instance), timeout=STOP_SECONDS)
        _set_state(instance, "stopped", only_if="stopping")

    def _reboot(self, instance: Instance) -> None:
        self.reboots.discard(instance.id)
        self.docker.restart(self._name(instance), timeout=STOP_SECONDS)

    def _terminate(self, instance: Instance) -> None:
        self._remove(instance.id)
        _set_state(instance, "terminated")

    def _fallen(self, instance: Instance) -> None:
        """The host rebooted or powered itself off."""
        try:
            state = self.docker.inspect_container(self._name(instance))["State"]
        except NotFound:
            state = {"Running": False, "ExitCode": None}
        if state["Running"] or instance.state != "running":
            return
        if state["ExitCode"] == EXIT_OF_REBOOT:
            self.docker.start(self._name(instance))
        elif instance.instance_initiated_shutdown_behavior == "terminate":
            instance.terminate()
        else:
            instance.stop()
            instance.state_reason.code = "Client.InstanceInitiatedShutdown"
            instance.state_reason.message = "Client.InstanceInitiatedShutdown: Instance initiated shutdown"

    def _create(self, instance: Instance) -> None:
        name, layout, private_ip = self._name(instance), self.settings.layout, instance.private_ip
        trusted = authorities()
        labels = {LABEL: self.settings.name, INSTANCE_LABEL: instance.id}
        volume = self.docker.create_volume(self._volume(instance.id), labels=labels)["Name"]
        endpoint = self.docker.create_endpoint_config(ipv4_address=private_ip)
        self.docker.create_container(
            HOST_IMAGE,
            name=name,
            hostname=f"ip-{str(private_ip).replace('.', '-')}",
            labels=labels,
            environment={"EC2_RESOLVER": str(layout.resolver)},
            host_config=host_config(self.docker, self.settings.privileged, volume),
            networking_config={"EndpointsConfig": {f"{self.settings.name}-vpc": endpoint}},
        )
        self.docker.put_archive(name, "/usr/local/share/ca-certificates", _archive(trusted))

    def _attach(self, instance: Instance, old: str | None) -> None:
        """Give the host its public address, or take it away."""
        name, internet = self._name(instance), f"{self.settings.name}-internet"
        if old:
            self.docker.disconnect_container_from_network(name, internet, force=True)
        if instance.public_ip:
            self.docker.connect_container_to_network(name, internet, ipv4_address=instance.public_ip)

    def _attached(self, container: dict[str, Any]) -> str | None:
        endpoint = container["NetworkSettings"]["Networks"].get(f"{self.settings.name}-internet")
        return endpoint["IPAMConfig"]["IPv4Address"] if endpoint else None

    def _remove(self, instance_id: str) -> None:
        with contextlib.suppress(NotFound):
            self.docker.remove_container(f"{self.settings.name}-{instance_id}", v=True, force=True)
        with contextlib.suppress(NotFound):
            self.docker.remove_volume(self._volume(instance_id))

    def _containers(self) -> dict[str, dict[str, Any]]:
        filters = {"label": [f"{LABEL}={self.settings.name}", INSTANCE_LABEL]}
        found = self.docker.containers(all=True, filters=filters)
        return {container["Labels"][INSTANCE_LABEL]: container for container in found}

    @staticmethod
    def _instances() -> Iterator[Instance]:
        for backend in list(ec2_backends[ACCOUNT].values()):
            yield from list(backend.all_instances())

    def _name(self, instance: Instance) -> str:
        return f"{self.settings.name}-{instance.id}"

    def _volume(self, instance_id: str) -> str:
        return f"{self.settings.name}-{instance_id}-docker"

    def _submit(self, instance_id: str, change: Callable[[], None]) -> None:
        if instance_id in self.busy:
            return
        self.busy.add(instance_id)

        def work() -> None:
            try:
                change()
            except (APIError, requests.RequestException):
                log.exception("%s: will be tried again", instance_id)
            finally:
                self.busy.discard(instance_id)
                self.wake.set()

        self.workers.submit(work)


def host_config(client: docker.APIClient, privileged: bool, volume: str) -> dict[str, Any]:
    """How a host's container runs: it boots systemd and an engine of its own, with images in the volume."""
    config = client.create_host_config(
        privileged=privileged,
        cap_add=None if privileged else ["ALL"],
        cap_drop=None if privileged else ["SYS_RESOURCE"],
        security_opt=["seccomp=unconfined", "apparmor=unconfined"],
        cgroupns="private",
        binds={volume: {"bind": "/var/lib/docker", "mode": "rw"}},
    )
    if not privileged:
        config |= {"MaskedPaths": [], "ReadonlyPaths": []}
    return config


def _set_state(instance: Instance, state: str, only_if: str | None = None) -> None:
    current = instance.instance_state
    if only_if in (None, current.name):
        current.name, current.code = state, CODES[state]


def _require(instance: Instance, verb: str, *states: str) -> None:
    if instance.state not in states:
        message = f"The instance '{instance.id}' is not in a state from which it can be {verb}."
        raise EC2ClientError("IncorrectInstanceState", message)


def _archive(files: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()
