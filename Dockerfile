# The app's image; its context is app/:  docker build -f Dockerfile app
# What seldom changes comes first, so that a change of code uploads little: dependencies, model, code, version.

FROM python:3.13-slim-trixie AS dependencies
RUN python3 -m venv --without-pip /opt/venv
COPY requirements.txt /build/
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /build/pip \
    && /build/pip/bin/pip --python /opt/venv install --require-hashes --no-deps --compile -r /build/requirements.txt

FROM dependencies AS model
COPY model/ /build/model/
RUN --mount=type=cache,target=/root/.cache/pip \
    /build/pip/bin/pip --python /opt/venv install --require-hashes --no-deps -r /build/model/requirements.txt \
    && /opt/venv/bin/python /build/model/build.py /model

FROM python:3.13-slim-trixie AS code
COPY src/ /code/
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /code

FROM python:3.13-slim-trixie
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin matinee \
    && install --directory --owner matinee --group matinee /data
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=model /model /opt/venv/share/matinee/model
COPY --from=code /code /opt/matinee

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/matinee \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    MATINEE_DATA=/data \
    MATINEE_HOST=0.0.0.0
WORKDIR /tmp
USER 10001
EXPOSE 8501
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ.get('PORT') or 8501}/health\", timeout=4)"]
CMD ["python", "-m", "matinee"]

ARG VERSION=development
ENV MATINEE_VERSION=$VERSION
