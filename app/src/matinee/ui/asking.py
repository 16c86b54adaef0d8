"""Answers that are being written: each goes on while the page is reloaded, and ends when it is stopped."""

import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from matinee.answer import Answer, Delta, Kind
from matinee.errors import MatineeError
from matinee.llm import STOPPED, Turn
from matinee.workspace import Stage, Workspace

logger = logging.getLogger(__name__)

# What stands in the conversation until the answer is whole, and for good if this process is killed before
UNFINISHED = Answer(Kind.MODEL, "", notice="Matinee was stopped before it answered. Regenerate the answer.")
BETWEEN_SECONDS = 0.06  # two looks at an answer that grows
CHECK_SECONDS = 2.0  # for what came of a stopped answer to be checked
LOOK_SECONDS = 0.5  # at the latest, so that a page which is left lets go

_running: dict[int, "Asking"] = {}


@dataclass(frozen=True)
class Where:
    """Where to look for the answer; None is everywhere."""

    collections: tuple[int, ...] | None = None
    documents: tuple[int, ...] | None = None


class Asking:
    """A question that is being answered, in a thread of its own.

    Args:
        workspace: of the person who asks.
        conversation_id: the conversation it belongs to.
        message_id: the message that takes the answer.
        question: as the person wrote it.
        turns: the conversation so far.
        where: where to look.
    """

    def __init__(
        self,
        workspace: Workspace,
        conversation_id: int,
        message_id: int,
        question: str,
        turns: list[Turn],
        where: Where,
    ) -> None:
        self.conversation_id = conversation_id
        self.stage = ""
        self.text = ""
        self._workspace = workspace
        self._message_id = message_id
        self._ended = False
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._parts = workspace.ask(question, where.collections, where.documents, turns, self._stop)

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, daemon=True).start()

    def watch(self) -> Iterator[None]:
        """Yield after each change of `stage` or `text`, and now and then without one, until the end."""
        while not self._ended:
            seen = (self.stage, self.text)
            yield
            begun = time.monotonic()
            with self._changed:  # what has changed while the last was drawn is not waited for
                self._changed.wait_for(partial(self._is_past, seen), LOOK_SECONDS)
            time.sleep(max(0.0, BETWEEN_SECONDS - (time.monotonic() - begun)))

    def _is_past(self, seen: tuple[str, str]) -> bool:
        return self._ended or (self.stage, self.text) != seen

    def stop(self) -> None:
        """End it now and keep what came, with its citations if they are known at once."""
        self._stop.set()
        with self._changed:
            if self.text:
                self._changed.wait_for(lambda: self._ended, CHECK_SECONDS)
        text = re.sub(r"\s*\[\d+\]", "", self.text)  # of what is cited nothing is known before the end
        self._end(Answer(Kind.MODEL, text, notice=STOPPED))

    def _run(self) -> None:
        try:
            with closing(self._parts):
                for part in self._parts:
                    if self._ended:
                        return
                    if isinstance(part, Answer):
                        self._end(part)
                    else:
                        self._grow(part)
        except MatineeError as error:
            self._end(Answer(Kind.MODEL, self.text, notice=str(error)))
        except Exception:
            logger.exception("A question could not be answered.")
            notice = "An error in Matinee, see its log. Regenerate the answer to try once more."
            self._end(Answer(Kind.MODEL, self.text, notice=notice))

    def _grow(self, part: Stage | Delta) -> None:
        with self._changed:
            if isinstance(part, Stage):
                self.stage = part.text
            else:
                self.text += part.text
            self._changed.notify_all()

    def _end(self, answer: Answer) -> None:
        with self._changed:
            if self._ended:
                return
            try:
                self._workspace.conversations.complete(self._message_id, answer)
            finally:
                self._ended = True
                _running.pop(self._message_id, None)
                self._changed.notify_all()


def begin(workspace: Workspace, conversation_id: int, question: str, turns: list[Turn], where: Where) -> None:
    """Store a question in a conversation and begin to answer it."""
    message_id = workspace.conversations.append(conversation_id, question, UNFINISHED)
    asking = Asking(workspace, conversation_id, message_id, question, turns, where)
    _running[message_id] = asking
    asking.start()


def stop(conversation_id: int) -> None:
    """End the answers being written in a conversation; a model goes on costing until it is told."""
    for asking in running().values():
        if asking.conversation_id == conversation_id:
            asking.stop()


def running() -> dict[int, Asking]:
    """Return the answers being written now, by message; any other message has its answer in the store."""
    return dict(_running)
