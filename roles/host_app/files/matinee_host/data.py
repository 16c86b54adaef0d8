"""The app's data: a folder of the host which outlives containers and images, and its copies in S3."""

import contextlib
import gzip
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from matinee_host.model import LaunchError

SCRATCH = "copy-"


def data_folder(link: Path) -> Path:
    """The folder in use, which `link` points to; made when there is none."""
    if not link.is_symlink():
        use_folder(link, new_folder(link))
    return link.resolve()


def new_folder(link: Path) -> Path:
    """Make an empty folder beside the one in use."""
    folders = link.with_name("volumes")
    folders.mkdir(mode=0o700, exist_ok=True)
    # Root alone passes `volumes`; what is inside belongs to the container's user
    folder = folders / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    folder.mkdir(mode=0o700)
    return folder


def use_folder(link: Path, folder: Path) -> None:
    """Make `folder` the one in use, in one step."""
    beside = link.with_name(link.name + ".new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(folder.relative_to(link.parent))
    beside.replace(link)


def remove_unused(link: Path, mounted: Collection[Path]) -> None:
    """Remove every folder but the one in use and what is mounted, which a crash can have parted."""
    for folder in link.with_name("volumes").iterdir():
        if folder != link.resolve() and folder not in mounted:
            shutil.rmtree(folder, ignore_errors=True)


def give(folder: Path, uid: int) -> None:
    """Have a folder owned, with all it holds, by the user of the container."""
    if folder.stat().st_uid != uid:
        for path in folder.rglob("*"):
            os.chown(path, uid, -1, follow_symlinks=False)
        os.chown(folder, uid, -1)  # last, so that what is cut short is done again


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder, some of which may come and go meanwhile."""
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            size += 0 if path.is_dir() else path.lstat().st_size
    return size


@contextmanager
def scratch(parent: Path, needed: int) -> Iterator[Path]:
    """A folder for copies, on the disk of `parent`.

    Args:
        parent: Where it is made.
        needed: Bytes it must have room for.

    Raises:
        LaunchError: There is no room.
    """
    remove_scratch(parent)
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise LaunchError(
            f"The disk has {free / 2**20:.0f} MB left, and a copy of the data needs {needed / 2**20:.0f} MB."
        )
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=parent) as folder:
        yield Path(folder)


def remove_scratch(parent: Path) -> None:
    """Remove the copies which a crash has left."""
    for left in parent.glob(f"{SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)


def copy(folder: Path, target: Path) -> None:
    """Copy a folder as it is, to where nothing is yet."""
    subprocess.run(["/usr/bin/cp", "--archive", folder, target], check=True)


def pack(folder: Path, archive: Path) -> None:
    """Write everything in a folder to a compressed archive."""
    with tarfile.open(archive, "w:gz", compresslevel=3) as tar:
        tar.add(folder, arcname=".")


def unpack(archive: Path, folder: Path) -> None:
    """Fill an empty folder from an archive.

    Raises:
        LaunchError: It is no archive of ours, or reaches outside of the folder.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise LaunchError(f"The backup cannot be unpacked: {error}") from error


def checksum(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
