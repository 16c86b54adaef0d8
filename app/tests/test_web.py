"""The process as a whole: it starts, answers over HTTP, stops, and says what is wrong with its settings."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from conftest import Server, free_port, serve

from matinee.settings import Settings


def test_it_tells_its_health_and_version_and_stops_when_told(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with serve(tmp_path / "data", MATINEE_VERSION="1a2b3c4d5e6f", HOME=str(home)) as server:
        assert server.health()["status"] == "ok"
        assert httpx.get(f"{server.url}/version").json() == {"version": "1a2b3c4d5e6f"}
        output = server.stop()
        assert server.process.returncode == 0
        assert "Traceback" not in output
    assert list(home.iterdir()) == [], "something keeps its own files, as what calls home does"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"PORT": "eighty"}, "PORT"),
        ({"MATINEE_MAX_UPLOAD_MB": "0"}, "MATINEE_MAX_UPLOAD_MB"),
        ({"MATINEE_MODEL": "/nowhere"}, "python model/build.py"),
        ({"MATINEE_DATA": "/proc/nowhere"}, "set MATINEE_DATA to another folder"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    tmp_path: Path, variables: dict[str, str], message: str
) -> None:
    environment = {**os.environ, "MATINEE_DATA": str(tmp_path), "PORT": str(free_port()), **variables}
    command = [sys.executable, "-m", "matinee"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_no_page_is_served_without_the_policy_and_the_cookie(sample_server: Server) -> None:
    for path in ("/", "/documents", "/document?id=1", "/evaluation"):
        page = httpx.get(f"{sample_server.url}{path}")
        assert page.status_code == 200
        assert "connect-src 'self';" in page.headers["Content-Security-Policy"]
        assert "HttpOnly" in page.headers["Set-Cookie"]
    for path in ("/nothing", "/index.html", "/a/b", "/document/x", "/static/nothing.js"):
        page = httpx.get(f"{sample_server.url}{path}")
        assert (page.status_code, page.headers.get("Location")) == (307, "/"), path
    assert httpx.get(f"{sample_server.url}/_stcore/health").text == "ok"


def test_an_env_file_in_the_folder_it_starts_in_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MATINEE_VERSION=from-the-file\n")
    with serve(tmp_path / "data") as server:
        assert httpx.get(f"{server.url}/version").json() == {"version": "from-the-file"}


def test_every_setting_is_in_the_example_file() -> None:
    example = (Path(__file__).parents[1] / ".env.example").read_text()
    documented = re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)
    assert sorted(documented) == sorted(
        str(field.validation_alias) for field in Settings.model_fields.values()
    )
