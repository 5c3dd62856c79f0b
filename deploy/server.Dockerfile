# The image of the server: the page and the HTTP API (deploy/compose.yaml runs it, read-only and without privileges).
# Build it in the repository's root: docker build -f deploy/server.Dockerfile -t REGISTRY/vetrina-server:0.1.0 .
FROM python:3.11-slim-bookworm AS build
# Annoy is compiled at installation; its default, -march=native, would tie the image to the machine that built it.
ENV ANNOY_COMPILER_ARGS="-D_CRT_SECURE_NO_WARNINGS,-fpermissive,-DANNOYLIB_MULTITHREADED_BUILD,-std=c++14,-O3,-march=x86-64-v3"
RUN apt-get update && apt-get install --no-install-recommends -y g++ make && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/vetrina
COPY . .
# As `make models`: the locked libraries, the repository and the bundled models.
RUN make models PYTHON=python3.11 && rm -rf /root/.cache

FROM python:3.11-slim-bookworm
COPY --from=build /opt/vetrina /opt/vetrina
# What is written goes to /tmp and to the store: the rest of the file system may be read-only. The server runs only
# with models that are in the image or in VETRINA_MODELS.
ENV PATH=/opt/vetrina/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DAGSTER_DISABLE_TELEMETRY=1 \
    DAGSTER_HOME=/tmp/dagster \
    XDG_CACHE_HOME=/tmp/cache \
    VETRINA_OFFLINE=yes \
    VETRINA_STORE=/srv/store
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin vetrina
USER 10001
WORKDIR /tmp
VOLUME /srv/store
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["vetrina", "serve", "--host", "0.0.0.0", "--port", "8000"]
