"""Documents from a folder, an S3 prefix and a prebuilt index, taken in at the start."""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import boto3
import numpy as np
import pytest
from botocore.exceptions import IncompleteReadError
from botocore.response import StreamingBody
from conftest import OpenEngine, ask, free_port
from files import HARBOUR, LIGHTHOUSE, pdf
from moto.server import ThreadedMotoServer

from matinee import prebuilt
from matinee.engine import Engine
from matinee.sources import SourceError
from matinee.stores.truth import Origin

QUESTION = "When was the harbour dredged?"


def names(engine: Engine) -> set[str]:
    """Return the names of the documents, once the source has been read."""
    engine.wait_for_source()
    return {document.name for document in engine.workspace("visitor").documents()}


def fill(folder: Path) -> Path:
    """Make documents, one of them in a folder below, and files that are none."""
    (folder / "coast").mkdir(parents=True)
    (folder / "coast" / "harbour.pdf").write_bytes(pdf(HARBOUR))
    (folder / "lighthouse.txt").write_text(LIGHTHOUSE)
    (folder / ".hidden.txt").write_text("not for anybody's eyes")
    (folder / "program.exe").write_bytes(b"MZ")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with documents."""
    return fill(tmp_path / "documents")


def test_a_folder_is_taken_in_and_its_changes_at_the_next_start(
    folder: Path, open_engine: OpenEngine
) -> None:
    engine = open_engine(MATINEE_DOCUMENTS=str(folder))
    engine.add("uploaded.txt", b"What somebody uploaded stays, whatever happens in the folder.")
    assert names(engine) == {"coast/harbour.pdf", "lighthouse.txt", "uploaded.txt"}
    assert engine.health()["source"] == "ready"
    assert "1874" in ask(engine.workspace("visitor"), QUESTION).text
    engine.close()

    (folder / "lighthouse.txt").unlink()
    (folder / "coast" / "harbour.pdf").write_bytes(pdf(HARBOUR.replace("1874", "1911")))
    (folder / "new.md").write_text("# News\n\nThe ferry to Lindow runs again since Easter.")
    engine = open_engine(MATINEE_DOCUMENTS=str(folder))
    assert names(engine) == {"coast/harbour.pdf", "new.md", "uploaded.txt"}
    assert "1911" in ask(engine.workspace("visitor"), QUESTION).text


def test_a_bad_file_is_logged_and_does_not_stop_the_others(
    folder: Path, open_engine: OpenEngine, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "a-bad.pdf").write_bytes(b"%PDF-1.7 cut")
    engine = open_engine(MATINEE_DOCUMENTS=str(folder))
    assert names(engine) == {"coast/harbour.pdf", "lighthouse.txt"}
    assert engine.health()["source"] == "1 file could not be read; the log says why"
    assert "a-bad.pdf is damaged or cut short" in caplog.text


def test_a_file_that_cannot_be_opened_or_read_by_any_loader_does_not_stop_the_others(
    folder: Path, open_engine: OpenEngine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a-secret.txt").write_text("for root alone")
    (folder / "b-long.csv").write_text(f"place;what it is\nLindow;{'a harbour ' * 100}")
    open_file = Path.open

    def refuse(path: Path, *args: Any) -> Any:
        if path.name == "a-secret.txt":  # whoever runs the tests, root included
            raise PermissionError(13, "Permission denied")
        return open_file(path, *args)

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr("matinee.documents.tables.MAX_CHARACTERS", 500)  # csv.Error for a longer cell
    engine = open_engine(MATINEE_DOCUMENTS=str(folder))
    assert names(engine) == {"coast/harbour.pdf", "lighthouse.txt"}
    assert engine.health()["source"] == "2 files could not be read; the log says why"
    assert "a-secret.txt cannot be read (Permission denied)" in caplog.text
    assert "b-long.csv could not be taken in" in caplog.text


def test_a_folder_that_is_not_there_is_named(open_engine: OpenEngine) -> None:
    with pytest.raises(SourceError, match="MATINEE_DOCUMENTS: there is no folder or file /nowhere"):
        open_engine(MATINEE_DOCUMENTS="/nowhere")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 which answers over HTTP, as boto3 finds it; yields its address."""
    server = ThreadedMotoServer("127.0.0.1", free_port())
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-test",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.usefixtures("s3")
def test_an_s3_prefix_is_taken_in(open_engine: OpenEngine) -> None:
    client = boto3.client("s3")
    place = {"LocationConstraint": "eu-central-1"}
    client.create_bucket(Bucket="library", CreateBucketConfiguration=place)
    client.put_object(Bucket="library", Key="demo/coast/harbour.pdf", Body=pdf(HARBOUR))
    client.put_object(Bucket="library", Key="demo/lighthouse.txt", Body=LIGHTHOUSE.encode())
    client.put_object(Bucket="library", Key="private/other.txt", Body=b"Not below the prefix.")
    engine = open_engine(MATINEE_DOCUMENTS="s3://library/demo/")
    assert names(engine) == {"coast/harbour.pdf", "lighthouse.txt"}
    engine.close()

    client.delete_object(Bucket="library", Key="demo/lighthouse.txt")
    client.put_object(
        Bucket="library", Key="demo/coast/harbour.pdf", Body=pdf(HARBOUR.replace("1874", "1911"))
    )
    engine = open_engine(MATINEE_DOCUMENTS="s3://library/demo/")
    assert names(engine) == {"coast/harbour.pdf"}
    assert "1911" in ask(engine.workspace("visitor"), QUESTION).text


@pytest.mark.usefixtures("s3")
def test_an_object_that_never_comes_whole_does_not_stop_the_others(
    open_engine: OpenEngine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = boto3.client("s3")
    place = {"LocationConstraint": "eu-central-1"}
    client.create_bucket(Bucket="harbours", CreateBucketConfiguration=place)
    client.put_object(Bucket="harbours", Key="a-cut.txt", Body=HARBOUR.encode())
    client.put_object(Bucket="harbours", Key="lighthouse.txt", Body=LIGHTHOUSE.encode())
    read = StreamingBody.read

    def cut(body: StreamingBody, amt: int | None = None) -> bytes:
        data: bytes = read(body, amt)
        if data == HARBOUR.encode():
            raise IncompleteReadError(actual_bytes=1, expected_bytes=len(data))
        return data

    monkeypatch.setattr(StreamingBody, "read", cut)
    engine = open_engine(MATINEE_DOCUMENTS="s3://harbours/")
    assert names(engine) == {"lighthouse.txt"}
    assert engine.health()["source"] == "1 file could not be read; the log says why"
    assert "s3://harbours/a-cut.txt cannot be fetched: Max Retries Exceeded" in caplog.text


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_cannot_be_read_is_named_and_questions_are_answered(open_engine: OpenEngine) -> None:
    engine = open_engine(MATINEE_DOCUMENTS="s3://nobodys/")
    engine.add("harbour.txt", HARBOUR.encode())
    assert "1874" in ask(engine.workspace("visitor"), QUESTION).text
    while engine.health()["source"] == "reading":
        pass
    state = str(engine.health()["source"])
    assert "s3://nobodys/ cannot be listed" in state
    assert "a-secret-of-the-test" not in state


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prebuilt index of such a folder, made on the command line."""
    home = tmp_path_factory.mktemp("built")
    folder, path = fill(home / "documents"), home / "coast.matinee"
    command = [sys.executable, "-m", "matinee", "index", str(folder), str(path)]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert f"sha256={hashlib.sha256(path.read_bytes()).hexdigest()}" in done.stdout
    return path


@pytest.fixture
def index(built: Path, tmp_path: Path) -> Path:
    """A copy of that index."""
    return Path(shutil.copy(built, tmp_path))


def test_a_prebuilt_index_is_taken_in_as_it_is(
    index: Path, built: Path, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = hashlib.sha256(index.read_bytes()).hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr("matinee.embedding.LocalEmbedder.embed", None)  # nothing is embedded anew
        patch.setattr("matinee.embedding.LocalEmbedder.batches", None)
        engine = open_engine(MATINEE_DOCUMENTS=f"{index}#sha256={pin}")
        assert names(engine) == {"coast/harbour.pdf", "lighthouse.txt"}
    workspace = engine.workspace("visitor")
    answer = ask(workspace, QUESTION)
    assert "1874" in answer.text
    assert answer.citations[0].passage.page == 1
    original = built.parent / "documents" / "coast" / "harbour.pdf"
    assert workspace.file(answer.citations[0].passage.document_id) == original.read_bytes()
    engine.close()

    engine = open_engine(MATINEE_DOCUMENTS=str(built.parent / "documents"))  # and nothing twice
    assert names(engine) == {"coast/harbour.pdf", "lighthouse.txt"}
    assert engine.truth.count()[0] == 2


def test_an_index_of_another_embedding_model_gets_vectors_of_this_one(
    index: Path, open_engine: OpenEngine
) -> None:
    def rename(parts: dict[str, bytes]) -> None:
        manifest = json.loads(parts[prebuilt.MANIFEST])
        manifest["embedder"] = "another-model"
        parts[prebuilt.MANIFEST] = json.dumps(manifest).encode()

    repack(index, rename)
    engine = open_engine(MATINEE_DOCUMENTS=str(index))
    assert names(engine) == {"coast/harbour.pdf", "lighthouse.txt"}
    while len(engine.truth.vector_ids()) < engine.truth.count()[1]:
        pass
    assert "1874" in ask(engine.workspace("visitor"), QUESTION).text


def repack(
    index: Path, change: Callable[[dict[str, bytes]], None], compression: int = zipfile.ZIP_STORED
) -> None:
    """Change the parts of a prebuilt index."""
    with zipfile.ZipFile(index) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    with zipfile.ZipFile(index, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


class Bomb:
    """What runs when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Say what to run."""
        return Path.touch, (Path("exploded"),)


def forged_vectors() -> bytes:
    """Return a .npy file whose content is a pickle."""
    buffer = BytesIO()
    np.save(buffer, np.array([Bomb()], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def with_vectors(parts: dict[str, bytes]) -> None:
    """Put a pickle where the vectors were, with the right hash."""
    parts[prebuilt.VECTORS] = forged_vectors()
    manifest = json.loads(parts[prebuilt.MANIFEST])
    manifest["parts"][prebuilt.VECTORS] = hashlib.sha256(parts[prebuilt.VECTORS]).hexdigest()
    parts[prebuilt.MANIFEST] = json.dumps(manifest).encode()


def with_text(parts: dict[str, bytes]) -> None:
    """Change a word of a document."""
    parts[prebuilt.DOCUMENTS] = parts[prebuilt.DOCUMENTS].replace(b"1874", b"1066")


def with_file(parts: dict[str, bytes]) -> None:
    """Change an original file."""
    name = next(name for name in parts if name.startswith("files/"))
    parts[name] += b" "


def without_manifest(parts: dict[str, bytes]) -> None:
    """Take the manifest away."""
    del parts[prebuilt.MANIFEST]


@pytest.mark.parametrize("change", [with_vectors, with_text, with_file, without_manifest])
def test_an_index_that_was_changed_is_refused(
    index: Path,
    open_engine: OpenEngine,
    change: Callable[[dict[str, bytes]], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert pickle.loads(forged_vectors()[128:]) is not None  # noqa: S301 (it would run)
    Path("exploded").unlink()
    repack(index, change)
    engine = open_engine(MATINEE_DOCUMENTS=str(index))
    assert len(names(engine)) < 2
    assert "coast.matinee is no sound index of Matinee" in caplog.text
    assert not Path("exploded").exists()


def test_an_index_with_another_hash_or_compressed_or_no_archive_is_refused(
    index: Path, open_engine: OpenEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_engine(MATINEE_DOCUMENTS=f"{index}#sha256={'0' * 64}")
    assert names(engine) == set()
    assert "does not have the SHA-256 that MATINEE_DOCUMENTS names" in caplog.text
    engine.close()
    repack(index, lambda _parts: None, zipfile.ZIP_DEFLATED)
    engine = open_engine(MATINEE_DOCUMENTS=str(index))
    assert names(engine) == set()
    assert "it is compressed" in caplog.text
    engine.close()
    index.write_bytes(b"no archive")
    engine = open_engine(MATINEE_DOCUMENTS=str(index))
    assert names(engine) == set()


def test_an_index_built_anew_replaces_what_changed_and_keeps_the_rest(
    index: Path, open_engine: OpenEngine
) -> None:
    engine = open_engine(MATINEE_DOCUMENTS=str(index))
    assert names(engine) == {"coast/harbour.pdf", "lighthouse.txt"}
    engine.close()

    def change(parts: dict[str, bytes]) -> None:
        lines = [json.loads(line) for line in parts[prebuilt.DOCUMENTS].splitlines()]
        for line in lines:
            if line["name"] == "lighthouse.txt":
                line["name"] = "tower.txt"
        parts[prebuilt.DOCUMENTS] = "\n".join(map(json.dumps, lines)).encode()
        manifest = json.loads(parts[prebuilt.MANIFEST])
        manifest["parts"][prebuilt.DOCUMENTS] = hashlib.sha256(parts[prebuilt.DOCUMENTS]).hexdigest()
        parts[prebuilt.MANIFEST] = json.dumps(manifest).encode()

    repack(index, change)
    for _ in range(2):
        engine = open_engine(MATINEE_DOCUMENTS=str(index))
        assert names(engine) == {"coast/harbour.pdf", "tower.txt"}
        engine.close()


def test_an_index_taken_in_half_is_completed_at_the_next_start(index: Path, open_engine: OpenEngine) -> None:
    engine = open_engine()
    asked = iter([False, True])
    with index.open("rb") as file:
        origin = Origin(index.as_uri(), "half")
        prebuilt.install(file, engine.store, origin, stopped=lambda: next(asked))
    assert len(names(engine)) == 1
    engine.close()
    engine = open_engine(MATINEE_DOCUMENTS=str(index))
    assert names(engine) == {"coast/harbour.pdf", "lighthouse.txt"}


def upload_lighthouse(open_engine: OpenEngine) -> None:
    """Have a document of a name which the sources have, too."""
    engine = open_engine()
    engine.add("lighthouse.txt", b"What somebody wrote about another lighthouse.")
    engine.close()


def test_an_index_is_taken_in_but_for_names_that_are_taken_until_they_are_free(
    index: Path, open_engine: OpenEngine, caplog: pytest.LogCaptureFixture
) -> None:
    upload_lighthouse(open_engine)
    engine = open_engine(MATINEE_DOCUMENTS=str(index))
    assert names(engine) == {"coast/harbour.pdf", "lighthouse.txt"}
    assert engine.health()["source"] == "1 file could not be read; the log says why"
    assert "coast.matinee was taken in without lighthouse.txt: " in caplog.text
    workspace = engine.workspace("visitor")
    workspace.remove(next(item.id for item in workspace.documents() if item.origin is None))
    engine.close()
    engine = open_engine(MATINEE_DOCUMENTS=str(index))
    assert names(engine) == {"coast/harbour.pdf", "lighthouse.txt"}
    assert engine.health()["source"] == "ready"


def test_a_renamed_file_is_there_under_its_new_name(folder: Path, open_engine: OpenEngine) -> None:
    names(engine := open_engine(MATINEE_DOCUMENTS=str(folder)))
    engine.close()
    (folder / "lighthouse.txt").rename(folder / "tower.txt")
    assert names(open_engine(MATINEE_DOCUMENTS=str(folder))) == {"coast/harbour.pdf", "tower.txt"}


def test_a_file_that_was_only_touched_is_read_once_more_and_then_left(
    folder: Path, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(engine := open_engine(MATINEE_DOCUMENTS=str(folder)))
    engine.close()
    os.utime(folder / "lighthouse.txt", (0, 0))
    read: list[str] = []

    def watched(path: Path) -> BinaryIO:
        read.append(path.name)
        return path.open("rb")

    monkeypatch.setattr("matinee.sources._open", watched)
    for _ in range(2):
        names(engine := open_engine(MATINEE_DOCUMENTS=str(folder)))
        engine.close()
    assert read == ["lighthouse.txt"]


def test_a_changed_file_takes_its_own_place_when_the_source_has_become_the_folder_it_is_in(
    folder: Path, open_engine: OpenEngine
) -> None:
    names(engine := open_engine(MATINEE_DOCUMENTS=str(folder)))
    engine.close()
    (folder / "coast" / "harbour.pdf").write_bytes(pdf(HARBOUR.replace("1874", "1911")))
    engine = open_engine(MATINEE_DOCUMENTS=str(folder / "coast"))
    assert names(engine) == {"harbour.pdf", "lighthouse.txt"}
    assert "1911" in ask(engine.workspace("visitor"), QUESTION).text


def test_an_upload_is_not_replaced_by_a_file_of_the_source_with_its_name(
    folder: Path, open_engine: OpenEngine, caplog: pytest.LogCaptureFixture
) -> None:
    upload_lighthouse(open_engine)
    engine = open_engine(MATINEE_DOCUMENTS=str(folder))
    names(engine)
    assert "another document lighthouse.txt in this collection, which came from an upload" in caplog.text
    engine.close()
    (folder / "lighthouse.txt").unlink()
    assert names(open_engine(MATINEE_DOCUMENTS=str(folder))) == {"coast/harbour.pdf", "lighthouse.txt"}


def test_the_documents_of_a_folder_stay_when_one_whose_name_begins_like_it_is_read(
    folder: Path, open_engine: OpenEngine
) -> None:
    longer = fill(folder.with_name("documents-2"))
    (longer / "more.txt").write_text("What stands in the longer folder alone.")
    names(engine := open_engine(MATINEE_DOCUMENTS=str(longer)))
    engine.close()
    assert "more.txt" in names(open_engine(MATINEE_DOCUMENTS=str(folder)))
