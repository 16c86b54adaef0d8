"""Start the app: `python -m matinee`, or `matinee`."""

import logging
import signal
import sys

from matinee.engine import shared_engine
from matinee.errors import MatineeError
from matinee.settings import Settings
from matinee.web import create_app

THEME = {
    "base": "light",
    "primaryColor": "#9f1239",
    "backgroundColor": "#ffffff",
    "secondaryBackgroundColor": "#f7f4f2",
    "textColor": "#1c1917",
    "linkColor": "#9f1239",
    "borderColor": "#e2dcd7",
    "showWidgetBorder": True,
    "baseRadius": "medium",
    "font": "sans-serif",
}


def streamlit_options(settings: Settings) -> dict[str, object]:
    """Return Streamlit's options: nothing leaves this machine, and a page without a developer's tools."""
    return {
        "server.address": settings.host,
        "server.port": settings.port,
        "server.headless": True,
        "server.fileWatcherType": "none",
        "server.maxUploadSize": settings.max_upload_mb,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "logger.hideWelcomeMessage": True,
        **{f"theme.{name}": value for name, value in THEME.items()},
    }


def main() -> int:
    """Serve until told to stop; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        engine = shared_engine()
    except MatineeError as error:
        print(f"matinee: {error}", file=sys.stderr)
        return 1
    settings = engine.settings
    logging.getLogger("matinee").info(
        "Matinee %s on http://%s:%d", settings.version, settings.host, settings.port
    )
    for number in (signal.SIGTERM, signal.SIGINT):  # the server stops first, then gives the signal to these
        signal.signal(number, lambda _number, _frame: sys.exit(0))
    try:
        create_app(engine).run(config=streamlit_options(settings))
    finally:
        engine.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
