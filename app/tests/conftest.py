"""What the tests share: an engine on a folder of its own, the real server, a real browser."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser import CHROMIUM, CHROMIUM_FLAGS
from playwright.sync_api import Browser, Page, expect, sync_playwright

from matinee.answer import Answer
from matinee.engine import Engine
from matinee.settings import Settings
from matinee.workspace import Workspace

START_SECONDS = 60
PAGE_SECONDS = 60  # limits for a busy machine; what is waited for usually comes in one or two
OWN_SETTINGS = (
    "MATINEE_",
    "PORT",
    "OPENAI_",
    "ANTHROPIC_",
    "GEMINI_",
    "GROQ_",
    "MISTRAL_",
    "OLLAMA_",
    "COMPATIBLE_",
    "RERANKER_",
    "AWS_",
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the person who runs the tests reaches the app, nor does a .env file."""
    for name in os.environ:
        if name.startswith(OWN_SETTINGS):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


type OpenEngine = Callable[..., Engine]


@pytest.fixture
def open_engine(tmp_path: Path) -> Iterator[OpenEngine]:
    """Open an engine on the test's data folder, with settings by their variables' names."""
    with ExitStack() as stack:

        def open_(**variables: str) -> Engine:
            engine = Engine(Settings.model_validate({"MATINEE_DATA": tmp_path / "data", **variables}))
            stack.callback(engine.close)
            return engine

        yield open_


@pytest.fixture
def engine(open_engine: OpenEngine) -> Engine:
    """An engine without documents and without a language model."""
    return open_engine()


@pytest.fixture
def workspace(engine: Engine) -> Workspace:
    """What that engine does for one person."""
    return engine.workspace("visitor")


def ask(workspace: Workspace, question: str, **options: Any) -> Answer:
    """Return the whole answer."""
    *_, answer = workspace.ask(question, **options)
    assert isinstance(answer, Answer)
    return answer


def wait_for_index(health: Callable[[], dict[str, Any]]) -> None:
    """Wait until the vector index holds what the library holds."""
    deadline = time.monotonic() + START_SECONDS
    while health()["index"] != "ready":
        assert time.monotonic() < deadline, health()
        time.sleep(0.05)


@dataclass(frozen=True)
class Server:
    """A running app."""

    url: str
    process: subprocess.Popen[str]

    def health(self) -> Any:
        """Return what /health says."""
        return httpx.get(f"{self.url}/health", timeout=PAGE_SECONDS).raise_for_status().json()

    def stop(self) -> str:
        """Stop it as a container is stopped; returns what it wrote."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=30)[0]


def free_port() -> int:
    """Return a port nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def serve(folder: Path, **variables: str) -> Iterator[Server]:
    """Run `python -m matinee` on a data folder until the block ends."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OWN_SETTINGS)}
    process = subprocess.Popen(
        [sys.executable, "-m", "matinee"],
        env={**environment, "MATINEE_DATA": str(folder), "PORT": str(port), **variables},
        cwd=folder.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    server = Server(f"http://127.0.0.1:{port}", process)
    try:
        transport = httpx.HTTPTransport(retries=START_SECONDS)  # it waits longer before each
        with httpx.Client(transport=transport, timeout=START_SECONDS) as client:
            client.get(f"{server.url}/health").raise_for_status()
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def sample_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app with the sample, for tests which leave the documents as they are."""
    folder = tmp_path_factory.mktemp("sample") / "data"
    engine = Engine(Settings.model_validate({"MATINEE_DATA": folder}))
    engine.add_sample()
    engine.close()
    with serve(folder) as server:
        yield server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium."""
    expect.set_options(timeout=PAGE_SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of the browser, with nothing from other tests."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PAGE_SECONDS * 1000)
    yield context.new_page()
    context.close()
