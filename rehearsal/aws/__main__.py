"""The process of the `aws` container: API, image manifests, metadata and reconciler share moto's state."""

import logging
import os
import signal
import sys
import threading
from pathlib import Path

from .settings import ACCOUNT, Settings

# moto reads these while it is imported
os.environ["MOTO_ACCOUNT_ID"] = ACCOUNT
os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
os.environ["MOTO_AMIS_PATH"] = str(Path(__file__).with_name("amis.json"))

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import run_simple

from . import billing, gaps, github, iam, imds, pricing, route53, s3, sts
from .ecr import Registry
from .instances import Reconciler
from .sessions import Sessions


class RequestHandler(MotoRequestHandler):
    """moto's, without a line for every request."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing."""


def main() -> None:
    """Serve until the container is stopped."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it advises against itself for public servers
    settings = Settings.from_environment()
    gaps.install(settings.layout)
    billing.install()
    iam.install()
    pricing.install()
    route53.install()
    s3.install()
    sts.install()
    registry = Registry(settings, DomainDispatcherApplication(create_backend_app))
    registry.install()
    reconciler = Reconciler(settings)
    reconciler.install()
    sessions = Sessions(settings)
    sessions.install()
    iam.create_administrator()
    github.create_key()
    # A container's first process is not ended by signals it does not take
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    for task in (reconciler.run, imds.serve, sessions.serve):
        threading.Thread(target=task, daemon=True).start()
    run_simple(str(settings.layout.aws), 80, registry, threaded=True, request_handler=RequestHandler)


if __name__ == "__main__":
    main()
