"""What the tests of the launcher share."""

import os
from pathlib import Path

# Where the launcher's package is
LAUNCHER = Path(__file__).parents[2] / "roles/host_app/files"
# As root the image's user is someone else, as on a host; without root nothing can be given to someone else.
APP_UID = os.getuid() or 4711
