"""Build the rehearsal's images, each only when its sources or its base have changed."""

import hashlib
import io
import tarfile
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

import docker
from docker.errors import APIError, ImageNotFound

from rehearsal.progress import RehearsalError, follow_build, say

HERE = Path(__file__).parent
CLOUD = "matinee-cloud"
HOST = "matinee-host"
SOURCES_LABEL = "matinee.rehearsal.sources"
NAME_LABEL = "matinee.rehearsal.image"


def build(client: docker.DockerClient, name: str, folder: str, base: str, extra: Sequence[str] = ()) -> None:
    """Build an image from `images/<folder>`, unless it stands already.

    Args:
        client: The docker engine.
        name: The image's name.
        folder: Folder under `images` with the Dockerfile.
        base: The image its FROM line names.
        extra: More paths of this package which its build context holds.

    Raises:
        RehearsalError: The build fails; the message has its last lines.
    """
    files = _files(HERE / "images" / folder, *(HERE / path for path in extra))
    digest = hashlib.sha256(str(client.images.get(base).id).encode())
    for path, content in files.items():
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    sources = digest.hexdigest()
    try:
        if client.images.get(name).labels.get(SOURCES_LABEL) == sources:
            say(f"{name}: up to date")
            return
    except ImageNotFound:
        pass
    context = _archive(files)
    events = client.api.build(
        fileobj=context,
        custom_context=True,
        tag=name,
        labels={SOURCES_LABEL: sources, NAME_LABEL: name},
        rm=True,
        forcerm=True,
        decode=True,
    )
    follow_build(f"building {name}", events)


def prune(client: docker.DockerClient) -> None:
    """Remove what older sources were built to, unless a container still runs from it."""
    for name in (HOST, CLOUD):
        try:
            client.images.prune(filters={"dangling": True, "label": f"{NAME_LABEL}={name}"})
        except APIError as error:
            if error.status_code != HTTPStatus.CONFLICT:  # else somebody is at it: Docker does one at a time
                raise


def remove(client: docker.DockerClient, *names: str) -> None:
    """Remove images by name if they were made here; one that was pulled stays.

    Raises:
        RehearsalError: A container still needs one.
    """
    for name in names:
        try:
            # What is built on a base image inherits its label, hence the comparison with the image's own name
            if client.images.get(name).labels.get(NAME_LABEL) == name:
                client.images.remove(name)
                say(f"removed image {name}")
        except ImageNotFound:
            continue
        except APIError as error:
            raise RehearsalError(f"The image {name} is still needed: {error.explanation}") from error


def _files(folder: Path, *extra: Path) -> dict[str, bytes]:
    found = {str(file.relative_to(folder)): file for file in folder.rglob("*") if file.is_file()}
    for path in extra:
        inside = [path] if path.is_file() else path.rglob("*")
        found.update({str(file.relative_to(HERE)): file for file in inside if file.is_file()})
    return {name: found[name].read_bytes() for name in sorted(found) if "__pycache__" not in name}


def _archive(files: dict[str, bytes]) -> io.BytesIO:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    archive.seek(0)
    return archive
