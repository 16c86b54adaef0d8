"""What the faults did, as a table: printed when the tests have ended, and written to .cache/faults.md."""

import pytest

from tests.faults.visitor import Visitor
from tests.local_aws import ROOT

FILE = ROOT / ".cache/faults.md"
PROPERTY = "fault"
HEAD = (
    "| fault | what the visitor saw (answers) | longest wait for the app | acknowledged lines lost |",
    "| --- | --- | ---: | ---: |",
)


def record(request: pytest.FixtureRequest, good: str, visitor: Visitor) -> None:
    """Write down what a visitor saw in a test; the first line of its documentation names the fault."""
    parameters = getattr(request.node, "callspec", None)
    documented = str(request.function.__doc__).splitlines()[0].rstrip(".")
    fault = documented.format(**parameters.params) if parameters else documented
    story = visitor.story(good)
    lost = f"{len(visitor.lost())} of {len(visitor.acknowledged)}"
    row = f"| {fault} | {story} | {visitor.longest_wait():.1f} s | {lost} |"
    request.node.user_properties.append((PROPERTY, row))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table; when tests run in several processes, this one has their reports."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    rows = [
        value
        for report in sorted(reports, key=lambda report: getattr(report, "start", 0))
        if getattr(report, "when", "") == "teardown"
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    if rows:
        table = [*HEAD, *rows]
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text("\n".join(table) + "\n")
        terminalreporter.section("Faults")
        terminalreporter.write_line("\n".join(table))
