FROM python:3.13-slim

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

RUN useradd --system --create-home --home-dir /srv/meerkat --uid 10001 meerkat

WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY schemas schemas
COPY store store
COPY worker worker
RUN pip install --constraint constraints.txt ".[otel]" && rm -rf /build

# Where a SQLite file and a directory of blobs go, if those are chosen.
WORKDIR /srv/meerkat
USER meerkat

EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["meerkat-worker"]
CMD ["--help"]
