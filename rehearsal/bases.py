"""The two base images every Dockerfile of the project starts from.

Where a registry answers they are pulled. Where none does, a Debian machine makes stand-ins of the same names
from its own package sources: same distribution, same paths, same commands.
"""

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import requests
from docker.errors import APIError, ImageNotFound

from rehearsal import images
from rehearsal.progress import RehearsalError, Step, follow_build, run, say

SUITE = "trixie"
DEBIAN = "debian:trixie-slim"
PYTHON = "python:3.13-slim-trixie"
PULL_SILENCE = 20
"""Seconds without a word from the registry after which a pull is given up."""

# What the machine's apt needs to know to reach its mirrors, which the stand-in therefore needs too
APT_SETTINGS = (
    "Acquire::http::Proxy",
    "Acquire::https::Proxy",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
)
LOCAL_AUTHORITIES = Path("/usr/local/share/ca-certificates")
# As in the distribution's own slim images: no documentation, no translations
SLIM_PATHS = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info")


def ensure(client: docker.DockerClient) -> None:
    """Make sure both base images are there.

    Raises:
        RehearsalError: They can neither be pulled nor made here.
    """
    for name in (DEBIAN, PYTHON):
        if _present(client, name):
            say(f"{name}: present")
        elif not _pull(name):
            _make_debian(client) if name == DEBIAN else _make_python(client)


def _present(client: docker.DockerClient, name: str) -> bool:
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True


def _pull(name: str) -> bool:
    repository, tag = name.split(":")
    # A client of its own, because its timeout is the silence allowed between two lines of progress
    impatient = docker.from_env(timeout=PULL_SILENCE)
    try:
        events = impatient.api.pull(repository, tag, stream=True, decode=True)
        follow_build(f"pulling {name}", events)
    except (APIError, requests.RequestException, RehearsalError) as error:
        reason = error.explanation if isinstance(error, APIError) else str(error).splitlines()[0]
        say(f"{name} cannot be pulled ({reason}); it is made from Debian packages instead")
        return False
    finally:
        impatient.close()
    return True


def _make_debian(client: docker.DockerClient) -> None:
    sources = _apt_sources()
    if not shutil.which("debootstrap"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run("installing debootstrap", "apt-get", "install", "-y", "debootstrap", env=environment)
    with _scratch() as root:
        keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
        run(
            f"making {DEBIAN} with debootstrap",
            *("debootstrap", "--variant=minbase", f"--keyring={keyring}", SUITE, root, sources["Debian"]),
        )
        _configure_apt(root, sources, keyring)
        run("updating the package lists in it", "chroot", root, "apt-get", "update")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        run("bringing it up to date", "chroot", root, "apt-get", "-y", "dist-upgrade", env=environment)
        _slim(root)
        _import(client, root)


def _make_python(client: docker.DockerClient) -> None:
    images.build(client, PYTHON, "python", base=DEBIAN)


def _apt_sources() -> dict[str, str]:
    """The machine's mirrors: {"Debian": address, "Debian-Security": address}."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise RehearsalError(
            f"{DEBIAN} and {PYTHON} can neither be pulled nor made here.\n"
            f"Either give this machine a way to a registry (docker pull {DEBIAN} must work),\n"
            "or run this on Debian as root, where they are made from its packages."
        )
    for attempt in range(2):
        if attempt:  # apt knows a source's label only once it has fetched its index
            run("updating the package lists", "apt-get", "update")
        listing = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)", "Created-By: Packages"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        sources = dict(line.split("|", 1) for line in listing.splitlines())
        if {"Debian", "Debian-Security"} <= sources.keys():
            return sources
    raise RehearsalError(
        f"{DEBIAN} cannot be made: this machine's apt has no Debian and Debian-Security source. "
        "Add both to /etc/apt/sources.list.d and run this again."
    )


@contextmanager
def _scratch() -> Iterator[Path]:
    # Not /tmp, which is often a small tmpfs mounted nodev
    with tempfile.TemporaryDirectory(prefix="matinee-", dir="/var/tmp") as folder:
        yield Path(folder) / "root"


def _configure_apt(root: Path, sources: dict[str, str], keyring: str) -> None:
    def stanza(label: str, suites: str) -> str:
        return (
            f"Types: deb\nURIs: {sources[label]}\nSuites: {suites}\nComponents: main\nSigned-By: {keyring}\n"
        )

    (root / "etc/apt/sources.list").unlink(missing_ok=True)
    (root / "etc/apt/sources.list.d/debian.sources").write_text(
        stanza("Debian", f"{SUITE} {SUITE}-updates") + "\n" + stanza("Debian-Security", f"{SUITE}-security")
    )
    settings = subprocess.run(
        ["apt-config", "dump", "--no-empty", "--format", '%F "%v";%n', *APT_SETTINGS],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (root / "etc/apt/apt.conf.d/90machine").write_text(settings)
    (root / "etc/apt/apt.conf.d/90slim").write_text(
        'Acquire::Languages "none";\nAcquire::GzipIndexes "true";\n'
        'Apt::AutoRemove::SuggestsImportant "false";\n'
        'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };\n'
    )
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(
        "".join(f"path-exclude /{path}/*\n" for path in SLIM_PATHS)
        + "path-include /usr/share/doc/*/copyright\n"
    )
    # The package ca-certificates takes these in wherever it is installed on top of this image
    local = root / LOCAL_AUTHORITIES.relative_to("/")
    local.mkdir(parents=True, exist_ok=True)
    for certificate in LOCAL_AUTHORITIES.glob("**/*.crt"):
        shutil.copy(certificate, local)


def _slim(root: Path) -> None:
    for path in ("var/cache/apt", "var/lib/apt/lists", *SLIM_PATHS):
        for file in (root / path).rglob("*"):
            if (file.is_file() or file.is_symlink()) and file.name != "copyright":
                file.unlink()
    for path in ("etc/hostname", "etc/resolv.conf", "etc/machine-id"):
        (root / path).write_text("")


def _import(client: docker.DockerClient, root: Path) -> None:
    def is_content(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        top = entry.name.removeprefix("./").split("/")[0]
        return None if top in ("proc", "sys", "dev") and "/" in entry.name.removeprefix("./") else entry

    with Step(f"importing {DEBIAN}"), tempfile.TemporaryFile(dir=root.parent) as archive:
        with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
            tar.add(root, arcname=".", filter=is_content)
        archive.seek(0, io.SEEK_SET)
        repository, tag = DEBIAN.split(":")
        client.api.import_image(
            archive,
            repository=repository,
            tag=tag,
            changes=['CMD ["bash"]', f"LABEL {images.NAME_LABEL}={DEBIAN}"],
        )
