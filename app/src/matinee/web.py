"""The ASGI app: the page, /health and /version, over one engine."""

from pathlib import Path

import streamlit
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from streamlit.file_util import get_static_dir

from matinee.engine import Engine
from matinee.identity import COOKIE, COOKIE_SECONDS, is_token, new_token

PAGE = Path(__file__).parent / "ui" / "page.py"
PATHS = ("/", "/documents", "/document", "/evaluation")  # what page.py names its pages
# The page may load and send nothing beyond this server, whatever a document or a model makes it say
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; object-src 'none';"
    " style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:;"
    " connect-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)


def create_app(engine: Engine) -> streamlit.App:
    """Return the app over an engine."""
    html = Path(get_static_dir(), "index.html").read_text(encoding="utf-8")
    html = html.replace("<title>Streamlit</title>", "<title>Matinee</title>")

    async def page(request: Request) -> HTMLResponse:
        response = HTMLResponse(
            html, headers={"Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
        )
        token = request.cookies.get(COOKIE)
        response.set_cookie(
            COOKIE,
            token if token and is_token(token) else new_token(),
            max_age=COOKIE_SECONDS,
            httponly=True,
            samesite="lax",
            secure="https" in (request.url.scheme, request.headers.get("X-Forwarded-Proto")),
        )
        return response

    async def no_other_page(request: Request, answer: RequestResponseEndpoint) -> Response:
        # Streamlit answers any path it does not know with its own page, which has neither policy nor cookie
        response = await answer(request)
        is_page = response.headers.get("Content-Type", "").startswith("text/html")
        return RedirectResponse("/") if is_page and request.url.path not in PATHS else response

    async def health(_request: Request) -> JSONResponse:
        return JSONResponse(await run_in_threadpool(engine.health))

    async def version(_request: Request) -> JSONResponse:
        return JSONResponse({"version": engine.settings.version})

    return streamlit.App(
        PAGE,
        routes=[
            *(Route(path, page) for path in PATHS),
            Route("/health", health),
            Route("/version", version),
        ],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=no_other_page)],
    )
