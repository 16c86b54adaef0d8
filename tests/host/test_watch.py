"""What goes to CloudWatch, from a journal and figures as they come."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from matinee_host.cloud import CloudError
from matinee_host.journal import BATCH_BYTES, LINE_BYTES, Shipper, batch, text_of
from matinee_host.model import Config
from matinee_host.watch import LONGEST_WAIT, Job, figures


def entry(number: int, message: Any = "a line", hours: float = 0) -> dict[str, Any]:
    """One entry as journalctl prints it."""
    at = 1_790_000_000 + hours * 3600 + number / 1000
    return {"__CURSOR": f"s={number}", "__REALTIME_TIMESTAMP": str(int(at * 1_000_000)), "MESSAGE": message}


class Journal:
    """Stands in for journalctl, in a folder that PATH does not need: answers from a list, by the cursor."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self.entries = entries
        self.asked: list[list[str]] = []

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        """Answer as journalctl does."""
        self.asked.append(command)
        [begin] = [part for part in command if part.startswith("--after-cursor=") or part == "--boot"]
        cursor = begin.partition("=s=")[2]
        if cursor and not cursor.isdecimal():
            return subprocess.CompletedProcess(command, 1, b"", b"Failed to seek to cursor: Invalid argument")
        lines = [json.dumps(one) for one in self.entries[int(cursor) + 1 if cursor else 0 :]]
        return subprocess.CompletedProcess(command, 0, "\n".join(lines).encode(), b"")


class Reports:
    """Takes lines, or refuses them."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.refuses = False

    def put_lines(self, _group: str, _stream: str, lines: list[tuple[int, str]]) -> None:
        """Take lines."""
        if self.refuses:
            raise CloudError("CloudWatch Logs takes no lines of app.")
        assert [time for time, _ in lines] == sorted(time for time, _ in lines)
        self.taken += [text for _, text in lines]


@pytest.fixture
def shipper(tmp_path: Path) -> Shipper:
    return Shipper(Reports(), "/group", "app", tmp_path)  # type: ignore[arg-type]


def test_each_line_goes_once_over_failures_and_restarts(
    shipper: Shipper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: Any = shipper.reports
    journal = Journal([entry(0, "first"), entry(1, "second")])
    monkeypatch.setattr("matinee_host.journal.subprocess.run", journal)
    shipper.ship()
    journal.entries += [entry(2, ""), entry(3, "third")]
    reports.refuses = True
    with pytest.raises(CloudError):
        shipper.ship()
    reports.refuses = False
    Shipper(reports, "/group", "app", tmp_path).ship()
    assert reports.taken == ["first", "second", "third"]
    assert "--boot" in journal.asked[0]  # the first ever; nothing of what was before the program came
    assert "CONTAINER_NAME=matinee-app" in journal.asked[0]


def test_a_damaged_place_is_given_up(shipper: Shipper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matinee_host.journal.subprocess.run", Journal([entry(0, "first")]))
    shipper.place.write_text("s=rubbish")
    with pytest.raises(OSError, match="Failed to seek"):
        shipper.ship()
    shipper.ship()
    assert shipper.reports.taken == ["first"]  # type: ignore[attr-defined]


def test_a_batch_is_no_more_than_is_taken_at_once() -> None:
    large = [entry(number, "x" * 200_000) for number in range(10)]
    assert len(batch(large)) == BATCH_BYTES // 200_026
    assert len(batch([entry(0), entry(1, hours=22), entry(2, hours=25)])) == 2
    assert batch([]) == []


def test_a_line_is_text_whatever_was_said() -> None:
    assert text_of(entry(0, [102, 111, 255])) == "fo\N{REPLACEMENT CHARACTER}"
    assert text_of(entry(0, None)) == ""
    assert len(text_of(entry(0, "x" * 2 * LINE_BYTES))) == LINE_BYTES


def test_what_fails_is_said_once_and_done_more_seldom(caplog: pytest.LogCaptureFixture) -> None:
    problem: list[Exception] = [CloudError("No answer.")]

    def work() -> None:
        if problem:
            raise problem[0]

    caplog.set_level("INFO")
    job = Job("figures", 60, work)
    waits = []
    for _ in range(4):
        job.run()
        waits.append(job.wait)
    assert waits == [120, 240, LONGEST_WAIT, LONGEST_WAIT]
    assert [record.message for record in caplog.records] == ["figures: No answer. It is tried again."]
    problem.clear()
    job.run()
    assert (job.wait, caplog.records[-1].message) == (60, "figures: it works again.")
    assert job.due > time.monotonic()


def test_figures_are_those_of_this_machine(config: Config) -> None:
    found = figures(config)
    assert 0 < found["DiskUsed"][0] <= 100
    assert 0 < found["MemoryUsed"][0] < 100
    assert found["AppHealthy"] == (0.0, "None")  # nobody answers there
    df = subprocess.run(["df", "--output=pcent", "/"], capture_output=True, text=True, check=True).stdout
    assert abs(found["DiskUsed"][0] - int(df.split()[-1].strip("%"))) < 2
