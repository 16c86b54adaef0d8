"""Documents from a folder or an S3 prefix, taken in at the start: what is new, changed or gone there."""

import logging
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from matinee import prebuilt
from matinee.documents import SUFFIXES, safe_name
from matinee.errors import MatineeError
from matinee.settings import MEGABYTE
from matinee.stores.truth import Origin

if TYPE_CHECKING:
    from botocore.client import BaseClient

    from matinee.engine import Engine

RETRY_SECONDS = 30.0  # until the place can be read

logger = logging.getLogger(__name__)


class SourceError(MatineeError):
    """The place which the settings name cannot be read."""


@dataclass(frozen=True)
class Item:
    """A file at the source. `name` is its path below it."""

    name: str
    origin: Origin
    size: int
    open: Callable[[], AbstractContextManager[BinaryIO]]


class Source:
    """Keeps the library the same as a folder or an S3 prefix, in the background, once.

    Args:
        location: a folder, `s3://bucket/prefix`, or the address of one prebuilt index in either, which may
            end in `#sha256=…` to be taken only with this hash.

    Raises:
        SourceError: if there is no such folder or file.
    """

    def __init__(self, location: str) -> None:
        self._location, _, pin = location.partition("#sha256=")
        self._pin = pin or None
        self._list = self._list_s3 if self._location.startswith("s3://") else self._list_folder
        if self._list == self._list_folder and not Path(self._location).exists():
            raise SourceError(f"MATINEE_DOCUMENTS: there is no folder or file {self._location}.")
        self._closing, self._done = threading.Event(), threading.Event()
        self.state = "reading"
        """What it is doing, in words: reading, ready, or what went wrong."""

    def start(self, engine: "Engine") -> None:
        """Begin to take files in."""
        self._engine = engine
        self._thread = threading.Thread(target=self._work, name="source")
        self._thread.start()

    def wait(self) -> None:
        """Wait until the source has been taken in, or closed."""
        self._done.wait()

    def close(self) -> None:
        """Stop after the file that is being taken in."""
        self._closing.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                failed = self._take_in()
            except SourceError as error:
                self.state = str(error)
                logger.error("%s Trying again in %.0f s.", error, RETRY_SECONDS)
                self._closing.wait(RETRY_SECONDS)
            except Exception:
                self.state = "failed; the log says why"
                logger.exception("The documents of %s could not be taken in.", self._location)
                break
            else:
                files = "1 file" if failed == 1 else f"{failed} files"
                self.state = f"{files} could not be read; the log says why" if failed else "ready"
                break
        self._done.set()

    def _take_in(self) -> int:
        """Take in what is new or changed, remove what is gone; returns how many files failed."""
        failed = 0
        items = {item.origin.url: item for item in self._list()}
        for url, (document_id, _) in self._engine.truth.origins(self._root).items():
            if url.partition("#")[0] not in items:  # first, so that a renamed file is not taken for its copy
                self._engine.store.remove(document_id)
        for item in items.values():
            if self._closing.is_set():
                return failed
            try:
                self._take(item)
            except MatineeError as error:
                failed += 1
                logger.warning("%s", error)
            except Exception:  # a file nobody thought of
                failed += 1
                logger.exception("%s could not be taken in.", item.name)
        return failed

    @property
    def _root(self) -> str:
        """What the origin of each document that is from here begins with."""
        if self._location.startswith("s3://"):
            return self._location
        path = Path(self._location).resolve()
        return f"{path.as_uri()}{'/' if path.is_dir() else ''}"

    def _take(self, item: Item) -> None:
        """Take a file in unless it is here as it is there."""
        limit = self._engine.settings.max_upload_mb
        if item.name.endswith(prebuilt.SUFFIX):
            if self._engine.truth.taken(item.origin.url) != item.origin.mark:
                with item.open() as file:
                    prebuilt.install(file, self._engine.store, item.origin, self._pin, self._closing.is_set)
            return
        known_mark = self._engine.truth.origins(item.origin.url).get(item.origin.url, (0, None))[1]
        if known_mark == item.origin.mark:
            return
        if item.size > limit * MEGABYTE:
            raise SourceError(f"{item.name} has more than the {limit} MB of MATINEE_MAX_UPLOAD_MB.")
        name = "/".join(safe_name(part) for part in item.name.split("/"))
        with item.open() as file:
            self._engine.add(name, file.read(), origin=item.origin, shown=name)

    def _list_folder(self) -> Iterator[Item]:
        root = Path(self._location).resolve()
        paths = sorted(root.rglob("*")) if root.is_dir() else [root]
        for path in paths:
            if path.is_file() and _is_wanted(path.name):
                status = path.stat()
                name = path.relative_to(root if root.is_dir() else root.parent).as_posix()
                origin = Origin(path.as_uri(), f"{status.st_mtime_ns}-{status.st_size}")
                yield Item(name, origin, status.st_size, partial(_open, path))

    def _list_s3(self) -> Iterator[Item]:
        import boto3  # 0.5 s to import, which only those pay who have documents there
        from botocore.exceptions import BotoCoreError, ClientError

        place = urlsplit(self._location)
        prefix = place.path.lstrip("/")
        try:
            client = boto3.client("s3")
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=place.netloc, Prefix=prefix)
            objects = [entry for page in pages for entry in page.get("Contents", [])]
        except (BotoCoreError, ClientError) as error:
            raise SourceError(
                f"{self._location} cannot be listed: {error}. Check MATINEE_DOCUMENTS, AWS_REGION and that "
                "the key in AWS_ACCESS_KEY_ID may list and get there."
            ) from None
        for entry in objects:
            key = entry["Key"]
            if _is_wanted(key):
                name = key[prefix.rfind("/") + 1 :]
                origin = Origin(f"s3://{place.netloc}/{key}", entry["ETag"])
                download = partial(_download, client, place.netloc, key)
                yield Item(name, origin, entry["Size"], download)


def _is_wanted(name: str) -> bool:
    hidden = PurePosixPath(name).name.startswith(".")
    return not hidden and name.lower().endswith((*SUFFIXES, prebuilt.SUFFIX))


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read ({error.strerror}). Let the user this runs as read it."
        ) from None


@contextmanager
def _download(client: "BaseClient", bucket: str, key: str) -> Iterator[BinaryIO]:
    from botocore.exceptions import BotoCoreError, ClientError
    from s3transfer.exceptions import RetriesExceededError

    with tempfile.TemporaryFile() as file:
        try:
            client.download_fileobj(bucket, key, file)
        except (BotoCoreError, ClientError, RetriesExceededError) as error:
            raise SourceError(f"s3://{bucket}/{key} cannot be fetched: {error}.") from None
        file.seek(0)
        yield file
