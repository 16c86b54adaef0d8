"""The rehearsal's networks, volumes and containers: made, brought up to date, and taken away."""

import contextlib
import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import IPv4Address, IPv4Network, ip_network
from pathlib import Path

import docker
import requests
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.models.networks import Network
from docker.types import IPAMConfig, IPAMPool

from rehearsal import images
from rehearsal.aws.layout import INTERNET_PREFIX, METADATA, VPC_PREFIX, Layout
from rehearsal.progress import RehearsalError, Step, say

LABEL = "matinee.rehearsal"
SPECIFICATION_LABEL = "matinee.rehearsal.specification"
# Reserved for tests of network devices: nobody's own network is there
VPC_POOL = IPv4Network("198.18.0.0/16")
INTERNET_POOL = IPv4Network("198.19.0.0/16")
DEFAULT_PORT = 4566
READY_SECONDS = 60
ADMINISTRATOR = "/var/lib/rehearsal/administrator.json"
ACME = "acme-v02.api.letsencrypt.org"
DOCKER_SOCKET = "/var/run/docker.sock"


@dataclass(frozen=True)
class Service:
    """One container of the cloud image.

    Attributes:
        role: What it is; its container is called <name>-<role>.
        command: What it runs.
        address: Its address in the VPC.
        volumes: Volume or path on this machine: path inside, with ":ro" where it may only read.
        environment: Its environment.
        hosts: Names it knows.
        link_local: A second address, outside the VPC.
        internet: Its address among the Elastic IPs.
        port: Port of this machine's loopback its port 80 is published on.
    """

    role: str
    command: list[str]
    address: str
    volumes: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    hosts: dict[str, str] = field(default_factory=dict)
    link_local: str | None = None
    internet: str | None = None
    port: int | None = None


class Topology:
    """One rehearsal on this machine.

    Args:
        client: The docker engine.
        name: The rehearsal's name.
    """

    def __init__(self, client: docker.DockerClient, name: str) -> None:
        self.client = client
        self.name = name
        self.mine: dict[str, str | list[str] | bool] = {"label": f"{LABEL}={name}"}

    def up(self, port: int | None) -> int:
        """Make it stand, whatever stands of it already.

        Args:
            port: Port of the AWS API on 127.0.0.1; None for the one it has, or the usual one.

        Returns:
            The port.

        Raises:
            RehearsalError: It cannot be made; the message says why and what to do.
        """
        present = self.port()
        port = port or present or DEFAULT_PORT
        if port != present:
            self._require_free(port)
        layout = self._networks()
        with Step("starting DNS, gateway, registry, ACME and AWS API"):
            for service in self._services(layout, port):
                self._ensure(service)
            self._wait_until_ready(port)
        return port

    def require_reachable(self) -> None:
        """Make sure that this machine is on the networks.

        Raises:
            RehearsalError: It is not; the engine runs in a machine of its own.
        """
        layout = self.layout()
        with socket.socket() as probe:
            try:
                probe.bind((str(layout.machine) if layout else "", 0))
            except OSError as error:
                raise RehearsalError(
                    "The Docker engine runs in a machine of its own, as Docker Desktop's does; hosts could "
                    "not be reached from here. Use an engine of this machine: on WSL, switch Docker "
                    "Desktop's integration off and run `make demo` again as root."
                ) from error

    def down(self) -> None:
        """Take everything away: hosts with their disks, services, volumes, networks."""
        containers = self.client.containers.list(all=True, filters=self.mine, ignore_removed=True)
        # The reconciler first, or it would mind the hosts going
        for container in sorted(containers, key=lambda found: found.name != f"{self.name}-aws"):
            say(f"removing {container.name}")
            _ignoring_absence(container.remove, v=True, force=True)
        for volume in self.client.volumes.list(filters=self.mine):
            _ignoring_absence(volume.remove)
        for network in self.client.networks.list(filters=self.mine):
            _ignoring_absence(network.remove)

    def layout(self) -> Layout | None:
        """Its addresses; None if it has no networks."""
        vpc, internet = self._network("vpc"), self._network("internet")
        return Layout(_subnet(vpc), _subnet(internet)) if vpc and internet else None

    def port(self) -> int | None:
        """The port its gateway has; None if there is no gateway."""
        gateway = self._container("gateway")
        if gateway is None:
            return None
        bindings = gateway.attrs["HostConfig"]["PortBindings"]["80/tcp"]
        return int(bindings[0]["HostPort"])

    def states(self) -> dict[str, str]:
        """Name and state of every container it has, services and hosts."""
        found = self.client.containers.list(all=True, filters=self.mine, ignore_removed=True)
        return dict(sorted((str(container.name), container.status) for container in found))

    def administrator(self) -> dict[str, str]:
        """The administrator's key: access_key_id and secret_access_key."""
        key: dict[str, str] = json.loads(self._ask("cat", ADMINISTRATOR))
        return key

    def authorities(self) -> bytes:
        """The authorities which hosts trust beside the world's."""
        return self._ask("python", "-m", "aws.trust")

    def _ask(self, *command: str) -> bytes:
        container = self._container("aws")
        if container is None:
            raise RehearsalError(f"The rehearsal '{self.name}' is not up. Start it: python -m rehearsal up")
        status, output = container.exec_run([*command])
        if status or not isinstance(output, bytes):
            raise RehearsalError(f"{container.name} does not answer to {' '.join(command)}: {output!r}")
        return output

    def _services(self, layout: Layout, port: int) -> Iterator[Service]:
        zones, certificates = self._volume("zones"), self._volume("certificates")
        yield Service(
            "dns",
            [
                *("dnsmasq", "--keep-in-foreground", "--no-hosts", "--log-facility=-"),
                # a VPC without IPv6, and names that may be there a moment after they were asked for
                *("--filter-AAAA", "--no-negcache", "--hostsdir=/zones"),
                f"--address=/amazonaws.com/{ACME}/{layout.gateway}",
            ],
            str(layout.resolver),
            volumes={zones: "/zones:ro"},
        )
        yield Service(
            "acme",
            [
                *("sh", "-c"),
                "python -m aws.certificates /tls"
                f" && exec pebble -config /etc/pebble.json -dnsserver {layout.resolver}:53",
            ],
            str(layout.acme),
            volumes={certificates: "/tls"},
            environment={
                # no pauses, no refusals by chance, and every certificate proven anew
                "PEBBLE_VA_NOSLEEP": "1",
                "PEBBLE_WFE_NONCEREJECT": "0",
                "PEBBLE_AUTHZREUSE": "0",
            },
            internet=str(layout.validator),
        )
        yield Service(
            "registry",
            ["docker-registry", "serve", "/etc/docker/registry/config.yml"],
            str(layout.registry),
            volumes={self._volume("registry"): "/var/lib/registry"},
        )
        yield Service(
            "gateway",
            ["sh", "-c", "python -m aws.certificates /tls && exec nginx -g 'daemon off;'"],
            str(layout.gateway),
            volumes={certificates: "/tls"},
            hosts={"aws": str(layout.aws), "registry": str(layout.registry), "acme": str(layout.acme)},
            port=port,
        )
        yield Service(
            "aws",
            ["python", "-m", "aws"],
            str(layout.aws),
            volumes={
                certificates: "/tls:ro",
                zones: "/zones",
                self._volume("registry"): "/var/lib/registry",
                self._socket(): DOCKER_SOCKET,
            },
            environment={
                "REHEARSAL_NAME": self.name,
                "REHEARSAL_VPC": str(layout.vpc),
                "REHEARSAL_INTERNET": str(layout.internet),
                "REHEARSAL_PRIVILEGED": "yes" if self._privileged_works() else "no",
            },
            hosts={"acme": str(layout.acme)},
            link_local=METADATA,
        )

    def _ensure(self, service: Service) -> None:
        """A running container made from exactly this description and this image."""
        image = self.client.images.get(images.CLOUD).id
        described = json.dumps([image, service.__dict__], sort_keys=True)
        specification = hashlib.sha256(described.encode()).hexdigest()
        container = self._container(service.role)
        if container and container.labels.get(SPECIFICATION_LABEL) != specification:
            container.remove(v=True, force=True)
            container = None
        if container is None:
            container = self._create(service, specification)
        try:
            container.start()
        except APIError as error:
            if service.port and "port" in str(error.explanation):
                raise _port_taken(service.port) from error
            raise

    def _create(self, service: Service, specification: str) -> Container:
        api = self.client.api
        endpoint = api.create_endpoint_config(
            ipv4_address=service.address, link_local_ips=[service.link_local] if service.link_local else None
        )
        created = api.create_container(
            images.CLOUD,
            service.command,
            name=f"{self.name}-{service.role}",
            hostname=service.role,
            labels={LABEL: self.name, SPECIFICATION_LABEL: specification},
            environment=service.environment,
            ports=[80] if service.port else None,
            networking_config={"EndpointsConfig": {f"{self.name}-vpc": endpoint}},
            host_config=api.create_host_config(
                binds=[f"{source}:{target}" for source, target in service.volumes.items()],
                extra_hosts=service.hosts,
                port_bindings={80: ("127.0.0.1", service.port)} if service.port else None,
                restart_policy={"Name": "unless-stopped"},
            ),
        )
        if service.internet:
            api.connect_container_to_network(
                created["Id"], f"{self.name}-internet", ipv4_address=service.internet
            )
        return self.client.containers.get(created["Id"])

    def _wait_until_ready(self, port: int) -> None:
        """Until the gateway leads to the ACME server and to the registry, which asks for a password."""
        api = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if (
                _status(f"{api}/directory", host=ACME) == HTTPStatus.OK
                and _status(f"{api}/v2/") == HTTPStatus.UNAUTHORIZED
            ):
                return
            time.sleep(0.1)
        logs = "\n".join(
            f"--- {self.name}-{role}\n{container.logs(tail=15).decode(errors='replace')}"
            for role in ("gateway", "acme", "aws")
            if (container := self._container(role))
        )
        raise RehearsalError(f"The AWS API does not answer after {READY_SECONDS} s:\n{logs}")

    def _privileged_works(self) -> bool:
        """Whether this engine can run privileged containers; inside some sandboxes it cannot."""
        probe = self.client.containers.create(
            images.HOST, entrypoint=["true"], privileged=True, labels={LABEL: self.name}
        )
        try:
            probe.start()
        except APIError:
            return False
        finally:
            probe.remove(v=True, force=True)
        return True

    def _networks(self) -> Layout:
        vpc = self._network("vpc") or self._create_network("vpc", VPC_POOL, VPC_PREFIX, internal=False)
        # Internal: the way out of a host is its VPC's, whatever Elastic IP it has
        internet = self._network("internet") or self._create_network(
            "internet", INTERNET_POOL, INTERNET_PREFIX, internal=True
        )
        return Layout(_subnet(vpc), _subnet(internet))

    def _create_network(self, role: str, pool: IPv4Network, prefix: int, internal: bool) -> Network:
        taken = self._taken()
        for subnet in pool.subnets(new_prefix=prefix):
            if any(subnet.overlaps(other) for other in taken):
                continue
            ipam = IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet), gateway=str(subnet[1]))])
            try:
                network = self.client.networks.create(
                    f"{self.name}-{role}",
                    driver="bridge",
                    check_duplicate=True,
                    internal=internal,
                    ipam=ipam,
                    labels={LABEL: self.name},
                    options={"com.docker.network.driver.mtu": str(_mtu())},
                )
            except APIError as error:
                if "overlap" in str(error.explanation):  # another rehearsal took it this very moment
                    continue
                raise
            network.reload()
            return network
        raise RehearsalError(
            f"No free /{prefix} is left in {pool} for the network {self.name}-{role}. "
            "Take another rehearsal down: docker network ls --filter label=matinee.rehearsal"
        )

    def _taken(self) -> list[IPv4Network]:
        """Networks of docker's and of the machine's own routes."""
        subnets = [
            ip_network(config["Subnet"])
            for network in self.client.networks.list()
            for config in network.attrs["IPAM"]["Config"] or ()
        ]
        mine = [subnet for subnet in subnets if isinstance(subnet, IPv4Network)]
        routes = [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]
        networks = [
            IPv4Network((_address(destination), str(_address(mask))))
            for _, destination, _, _, _, _, _, mask, *_ in routes
        ]
        return mine + [network for network in networks if network.prefixlen > 0]

    def _network(self, role: str) -> Network | None:
        try:
            return self.client.networks.get(f"{self.name}-{role}")
        except NotFound:
            return None

    def _container(self, role: str) -> Container | None:
        try:
            return self.client.containers.get(f"{self.name}-{role}")
        except NotFound:
            return None

    def _volume(self, role: str) -> str:
        name = f"{self.name}-{role}"
        self.client.volumes.create(name, labels={LABEL: self.name})
        return name

    @staticmethod
    def _socket() -> str:
        host = os.environ.get("DOCKER_HOST", f"unix://{DOCKER_SOCKET}")
        if not host.startswith("unix://"):
            raise RehearsalError(
                f"The rehearsal needs the docker engine of this machine, but DOCKER_HOST is {host}. Unset it."
            )
        return host.removeprefix("unix://")

    @staticmethod
    def _require_free(port: int) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise _port_taken(port) from error


def _port_taken(port: int) -> RehearsalError:
    return RehearsalError(
        f"Port {port} of 127.0.0.1 is taken by another program (ss -ltnp 'sport = :{port}' shows which).\n"
        f"Choose another: REHEARSAL_PORT={port + 1} python -m rehearsal up"
    )


def _status(url: str, **headers: str) -> int | None:
    with contextlib.suppress(requests.RequestException):
        return requests.get(url, headers=headers, timeout=5).status_code
    return None


def _ignoring_absence(action: Callable[..., None], **arguments: bool) -> None:
    with contextlib.suppress(NotFound):
        action(**arguments)


def _subnet(network: Network) -> IPv4Network:
    return IPv4Network(network.attrs["IPAM"]["Config"][0]["Subnet"])


def _address(little_endian: str) -> IPv4Address:
    return IPv4Address(bytes.fromhex(little_endian)[::-1])


def _mtu() -> int:
    """The largest packet the machine's own way out takes: hosts whose packets are larger would hang."""
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        interface, destination, *_ = line.split()
        if destination == "00000000":
            return int(Path(f"/sys/class/net/{interface}/mtu").read_text())
    return 1500
