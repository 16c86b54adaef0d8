"""A prebuilt index: documents with passages and vectors in one file, made once and taken in without work.

It is a ZIP archive without compression: `manifest.json`, which holds the SHA-256 of the other parts,
`documents.jsonl`, `vectors.npy` (float32, one row for each passage, in order) and each original file under
`files/` and its hash. Nothing in it is code, nothing is unpickled, nothing is written to a path it names.
"""

import argparse
import hashlib
import json
import logging
import sys
import tempfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from matinee.documents import Document, Kind, Span
from matinee.errors import MatineeError
from matinee.stores.local import LocalStore
from matinee.stores.truth import DEFAULT_COLLECTION, NameTakenError, Origin, Truth

SUFFIX = ".matinee"
FORMAT = "matinee-index-1"
MANIFEST, DOCUMENTS, VECTORS = "manifest.json", "documents.jsonl", "vectors.npy"

logger = logging.getLogger(__name__)


class PrebuiltError(MatineeError):
    """A prebuilt index cannot be taken in."""


def write(truth: Truth, path: Path) -> str:
    """Write all documents of a library to a file; returns its SHA-256."""
    lines, matrices = [], []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for stored in truth.documents(person=""):
            passages = truth.document_passages(stored.id)
            ids, vectors = truth.vectors([passage.id for passage in passages])
            if ids != [passage.id for passage in passages]:
                raise PrebuiltError(f"{stored.name} still waits for vectors; try again in a while.")
            matrices.append(vectors)
            archive.writestr(f"files/{stored.sha256}", truth.file(stored.id) or b"")
            lines.append(
                {
                    "name": stored.name,
                    "sha256": stored.sha256,
                    "kind": stored.kind,
                    "page_starts": truth.page_starts(stored.id),
                    "page_names": stored.page_names,
                    "notices": stored.notices,
                    "tags": stored.tags,
                    "text": truth.text(stored.id, 0, sys.maxsize),
                    "passages": [[p.start, p.end, p.page, p.last_page] for p in passages],
                }
            )
        buffer = BytesIO()
        empty = np.empty((0, truth.dimensions), np.float32)
        np.save(buffer, np.concatenate([empty, *matrices]), allow_pickle=False)
        parts = {VECTORS: buffer.getvalue(), DOCUMENTS: "\n".join(map(json.dumps, lines)).encode()}
        for name, data in parts.items():
            archive.writestr(name, data)
        manifest = {
            "format": FORMAT,
            "embedder": truth.embedder,
            "parts": {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()},
        }
        archive.writestr(MANIFEST, json.dumps(manifest, indent=2))
    with path.open("rb") as file:
        return _sha256(file)


def install(
    file: BinaryIO,
    store: LocalStore,
    origin: Origin,
    pin: str | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Take in all documents of a prebuilt index; vectors of another embedding model are made anew.

    Args:
        file: the archive.
        store: takes the documents.
        origin: where the archive is from.
        pin: the SHA-256 it must have, if one is asked for.
        stopped: is asked before each document whether to leave the rest for another time.

    Raises:
        PrebuiltError: if it is damaged, not what its hashes say, or of another format, or, when all others
            are taken in, if documents of some names came from elsewhere.
    """
    name = origin.url.rpartition("/")[2]
    if pin and _sha256(file) != pin.lower():
        raise PrebuiltError(f"{name} does not have the SHA-256 that MATINEE_DOCUMENTS names.")
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            _install(archive, store, origin, stopped)
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, EOFError) as error:
        raise PrebuiltError(
            f"{name} is no sound index of Matinee ({error}). Build or copy it again."
        ) from None


def _install(
    archive: zipfile.ZipFile, store: LocalStore, origin: Origin, stopped: Callable[[], bool]
) -> None:
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise ValueError("it is compressed")  # else a small file could fill the memory
    manifest = json.loads(archive.read(MANIFEST))
    if manifest["format"] != FORMAT:
        raise ValueError(f"its format is {manifest['format']}, this version reads {FORMAT}")
    parts = {name: archive.read(name) for name in (DOCUMENTS, VECTORS)}
    for name, data in parts.items():
        if hashlib.sha256(data).hexdigest() != manifest["parts"][name]:
            raise ValueError(f"{name} does not have the hash of the manifest")
    vectors = np.load(BytesIO(parts[VECTORS]), allow_pickle=False)
    entries: list[dict[str, Any]] = [json.loads(line) for line in parts[DOCUMENTS].splitlines()]
    same_model = manifest["embedder"] == store.truth.embedder
    passages = sum(len(entry["passages"]) for entry in entries)
    if vectors.shape[0] != passages or (same_model and vectors.shape[1] != store.truth.dimensions):
        raise ValueError(f"{passages} passages, vectors of shape {vectors.shape}")
    urls = {f"{origin.url}#{entry['name']}" for entry in entries}
    for url, (document_id, _) in store.truth.origins(f"{origin.url}#").items():
        if url not in urls:
            store.remove(document_id)
    row = 0
    names_taken = []
    for entry in entries:
        if stopped():
            return
        data = archive.read(f"files/{entry['sha256']}")
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise ValueError(f"{entry['name']} does not have its hash")
        spans = [Span(*place) for place in entry["passages"]]
        document = Document(
            entry["name"],
            entry["text"],
            Kind(entry["kind"]),
            tuple(entry["page_starts"]),
            tuple(entry["page_names"]),
            tuple(entry["notices"]),
        )
        try:
            store.add(
                DEFAULT_COLLECTION,
                document,
                entry["sha256"],
                data,
                spans,
                vectors[row : row + len(spans)] if same_model else None,
                entry["tags"],
                Origin(f"{origin.url}#{document.name}", origin.mark),
            )
        except NameTakenError:
            names_taken.append(document.name)
        row += len(spans)
    if names_taken:  # not noted as taken in, so that the next start tries these again
        name = origin.url.rpartition("/")[2]
        raise PrebuiltError(
            f"{name} was taken in without {', '.join(names_taken)}: there are documents of such names from "
            "elsewhere. Remove those and start again."
        )
    store.truth.set_taken(origin)
    logger.info("Took in %d documents of %s.", len(entries), origin.url)


def _sha256(file: BinaryIO) -> str:
    return hashlib.file_digest(cast("Any", file), "sha256").hexdigest()


def main(arguments: list[str]) -> int:
    """Build an index: `matinee index SOURCE FILE`; returns the exit status."""
    from matinee.engine import Engine
    from matinee.settings import load_settings

    parser = argparse.ArgumentParser(
        prog="matinee index", description="Build an index once, to take in at starts."
    )
    parser.add_argument("source", help="folder or s3://bucket/prefix with documents")
    parser.add_argument("file", type=Path, help=f"what to write; its name ends in {SUFFIX}")
    options = parser.parse_args(arguments)
    if options.file.suffix != SUFFIX:
        parser.error(f"the file's name must end in {SUFFIX}")
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings().model_copy(update={"data": Path(folder), "documents": options.source})
        engine = Engine(settings)
        try:
            engine.wait_for_source()
            documents, passages = engine.truth.count()
            if not documents:
                raise PrebuiltError(f"No document could be read in {options.source}; the log says why.")
            sha256 = write(engine.truth, options.file)
            state = engine.health()["source"]
        finally:
            engine.close()
    failed = "" if state == "ready" else f"; {state}"
    print(f"{options.file}: {documents} documents, {passages} passages{failed}\nsha256={sha256}")
    return 0 if state == "ready" else 1
