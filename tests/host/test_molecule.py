"""The host roles' molecule scenario."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.local_aws import ROOT


@pytest.mark.usefixtures("rehearsal")  # which makes the image that the scenario boots
def test_scenario_passes() -> None:
    tools = Path(sys.executable).parent
    done = subprocess.run(
        [tools / "molecule", "test"],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0
