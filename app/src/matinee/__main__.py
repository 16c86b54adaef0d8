"""The command line: `matinee` serves, `matinee index` builds an index, `matinee evaluate` measures."""

import logging
import signal
import sys

import uvicorn
from streamlit.web import bootstrap

from matinee import prebuilt
from matinee.engine import shared_engine
from matinee.errors import MatineeError
from matinee.settings import Settings
from matinee.web import create_app

STOP_SECONDS = 8  # for requests that are being answered when told to stop

USAGE = """\
usage: matinee [serve]                serve the page
       matinee index SOURCE FILE      build an index of a folder or an S3 prefix, to take in at starts
       matinee evaluate SET           measure search and answers on questions whose answers are known"""

THEME = {  # which of light and dark is shown follows the visitor's system
    "light.primaryColor": "#9f1239",
    "light.backgroundColor": "#ffffff",
    "light.secondaryBackgroundColor": "#f7f4f2",
    "light.textColor": "#1c1917",
    "light.linkColor": "#9f1239",
    "light.borderColor": "#e2dcd7",
    "dark.primaryColor": "#e11d48",
    "dark.backgroundColor": "#1a1716",
    "dark.secondaryBackgroundColor": "#272321",
    "dark.textColor": "#f5f1ee",
    "dark.linkColor": "#fda4af",
    "dark.borderColor": "#443d39",
    "showWidgetBorder": True,
    "baseRadius": "medium",
    "font": "sans-serif",
}


def streamlit_options(settings: Settings) -> dict[str, object]:
    """Return Streamlit's options: nothing leaves this machine, and a page without a developer's tools."""
    return {
        "server.address": settings.host,
        "server.port": settings.port,
        "server.fileWatcherType": "none",
        "server.maxUploadSize": settings.max_upload_mb,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "logger.hideWelcomeMessage": True,
        **{f"theme.{name}": value for name, value in THEME.items()},
    }


def serve() -> int:
    """Serve until told to stop; returns the exit status."""
    engine = shared_engine()
    settings = engine.settings
    logging.getLogger("matinee").info(
        "Matinee %s on http://%s:%d", settings.version, settings.host, settings.port
    )
    for number in (signal.SIGTERM, signal.SIGINT):  # the server stops first, then gives the signal to these
        signal.signal(number, lambda _number, _frame: sys.exit(0))
    try:
        bootstrap.load_config_options(streamlit_options(settings))
        uvicorn.run(
            create_app(engine),
            host=settings.host,
            port=settings.port,
            access_log=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    finally:
        engine.close()
    return 0


def main() -> int:
    """Do what the arguments ask for; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    command, *arguments = sys.argv[1:] or ["serve"]
    try:
        match command:
            case "serve":
                return serve()
            case "index":
                return prebuilt.main(arguments)
            case "evaluate":
                from matinee.evaluation import command as evaluate

                return evaluate.main(arguments)
    except MatineeError as error:
        print(f"matinee: {error}", file=sys.stderr)
        return 1
    print(USAGE, file=sys.stderr)
    return 0 if command in ("help", "-h", "--help") else 2


if __name__ == "__main__":
    sys.exit(main())
