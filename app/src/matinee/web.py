"""The ASGI app: the page, /health and /version in one process, because one process owns the data folder."""

from pathlib import Path

import streamlit
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from matinee.engine import Engine

PAGE = Path(__file__).parent / "ui" / "page.py"


def create_app(engine: Engine) -> streamlit.App:
    """Return the app over an engine."""

    async def health(_request: Request) -> JSONResponse:
        return JSONResponse(await run_in_threadpool(engine.health))

    async def version(_request: Request) -> JSONResponse:
        return JSONResponse({"version": engine.settings.version})

    return streamlit.App(PAGE, routes=[Route("/health", health), Route("/version", version)])
