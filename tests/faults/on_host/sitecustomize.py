"""Breaks the launcher at an exact point. Python runs this first where it lies on the launcher's path.

/run/matinee/break holds "kill" or "hang" and the name of one of the launcher's functions. When that begins,
the file becomes /run/matinee/broken, so that it happens once; and the process is killed, or stands still as
long as that file is there.
"""

import os
import signal
import sys
import time
from pathlib import Path
from types import CodeType

ORDER, DONE = Path("/run/matinee/break"), Path("/run/matinee/broken")


def begin(code: CodeType, _offset: int) -> object:
    """Called when a function begins."""
    if "/matinee_host/" not in code.co_filename:
        return sys.monitoring.DISABLE
    if ORDER.exists():
        how, function = ORDER.read_text().split()
        if function == code.co_qualname:
            ORDER.rename(DONE)
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            while DONE.exists():
                time.sleep(0.05)
    return None


sys.monitoring.use_tool_id(sys.monitoring.DEBUGGER_ID, "break")
sys.monitoring.register_callback(sys.monitoring.DEBUGGER_ID, sys.monitoring.events.PY_START, begin)
sys.monitoring.set_events(sys.monitoring.DEBUGGER_ID, sys.monitoring.events.PY_START)
