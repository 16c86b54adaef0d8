"""A library for the time of one evaluation, filled with the documents a set is judged against."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from matinee.documents import DocumentError
from matinee.engine import Engine, Progress
from matinee.evaluation.sets import JudgedSet, SetError, read_corpus
from matinee.settings import Settings
from matinee.stores.truth import Outcome
from matinee.workspace import Workspace

SHARED = ""  # the person who sees what everybody sees, and nothing that is somebody's own


@contextmanager
def temporary_library(settings: Settings, documents: str | None = None) -> Iterator[Workspace]:
    """Open a library which is gone afterwards, with the documents of a folder or S3 prefix if one is named.

    Raises:
        MatineeError: if these cannot be taken in.
    """
    with tempfile.TemporaryDirectory(prefix="matinee-") as folder:
        engine = Engine(settings.model_copy(update={"data": Path(folder), "documents": documents}))
        try:
            engine.wait_for_source()
            yield engine.workspace(SHARED)
        finally:
            engine.close()


def add_corpus(workspace: Workspace, judged: JudgedSet, progress: Progress) -> JudgedSet:
    """Add the documents a set brings; returns the set with the names they have in the library.

    Raises:
        SetError: if they cannot be taken in.
    """
    if judged.corpus is None:
        return judged
    names: dict[str, str] = {}
    size, read = judged.corpus.stat().st_size, 0
    for key, text in read_corpus(judged.corpus):
        try:
            added = workspace.add(f"{re.sub(r'[^\w.-]', '_', key)}.txt", text.encode())
        except DocumentError:  # without text it cannot be found, here as in any search
            continue
        if added.outcome is Outcome.REPLACED:
            raise SetError(f"{judged.corpus}: has two documents whose ids differ too little: {key}.")
        names[key] = added.name
        read += len(text.encode())
        progress(f"Adding documents: {len(names):,}", min(read / size, 1.0))
    questions = tuple(
        replace(question, relevant={names.get(key, key): score for key, score in question.relevant.items()})
        for question in judged.questions
    )
    return replace(judged, questions=questions)
