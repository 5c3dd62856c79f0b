"""Every setting, in one place: its name in the environment, its default and what it means.

The command line and the Dagster resources read the same settings. `Settings.from_environment` is the only
reader of the environment; everything else is handed values.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vetrina.errors import SettingError

REPOSITORY = Path(__file__).resolve().parent.parent


def _setting(default: Any, env: str, help: str, *, secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"env": env, "help": help})


@dataclass(frozen=True, slots=True)
class Settings:
    """What a deployment may choose. Each field names its environment variable and says what it does."""

    store: str = _setting(
        str(REPOSITORY / "vetrina-store"),
        "VETRINA_STORE",
        "Where everything is kept: a folder or s3://bucket/prefix.",
    )
    cache: str = _setting(
        "",
        "VETRINA_CACHE",
        "Folder for local copies of an S3 store's index files; empty: vetrina in the user's cache.",
    )
    cache_gib: float = _setting(
        10.0, "VETRINA_CACHE_GIB", "Most that these copies take, in GiB; what was not used for longest goes."
    )
    id_columns: str = _setting(
        "", "VETRINA_ID_COLUMNS", "Names of the id column, comma-separated; empty: the usual ones."
    )
    picture_columns: str = _setting(
        "", "VETRINA_PICTURE_COLUMNS", "Names of the picture column, comma-separated; empty: the usual ones."
    )
    allow_outside: bool = _setting(
        False, "VETRINA_ALLOW_OUTSIDE", "Let a catalog name local pictures outside its own folder."
    )
    allow_private: bool = _setting(
        False, "VETRINA_ALLOW_PRIVATE", "Let pictures be fetched from private and loopback addresses."
    )
    fetch_concurrency: int = _setting(32, "VETRINA_FETCH_CONCURRENCY", "Pictures fetched at the same time.")
    fetch_per_host: int = _setting(8, "VETRINA_FETCH_PER_HOST", "Of these, from one host.")
    fetch_attempts: int = _setting(4, "VETRINA_FETCH_ATTEMPTS", "Tries for a picture whose server fails or is slow.")
    fetch_deadline: float = _setting(60.0, "VETRINA_FETCH_DEADLINE", "Seconds that one try may take in all.")
    max_picture_bytes: int = _setting(32 << 20, "VETRINA_MAX_PICTURE_BYTES", "Largest picture file, in bytes.")
    max_pixels: int = _setting(50_000_000, "VETRINA_MAX_PIXELS", "Largest picture, in pixels.")
    min_side: int = _setting(16, "VETRINA_MIN_SIDE", "Smallest side of a usable picture, in pixels.")
    workers: int = _setting(0, "VETRINA_WORKERS", "Pictures worked on at the same time; 0: one for each core.")
    detector: str = _setting("bundled:openimages-ssd", "VETRINA_DETECTOR", "The detector's handle.")
    classes: str = _setting(
        "general",
        "VETRINA_CLASSES",
        "Classes that become crops: a preset (general, fashion) or Open Images names.",
    )
    min_score: float | None = _setting(
        None, "VETRINA_MIN_SCORE", "Lowest detection score, 0 to 1; empty: the detector's own default."
    )
    max_boxes: int = _setting(3, "VETRINA_MAX_BOXES", "Most crops of one picture, after the class filter.")
    min_box: float = _setting(0.01, "VETRINA_MIN_BOX", "Smallest share of the picture's area that becomes a crop.")
    extractor: str = _setting("bundled:efficientnet-lite0", "VETRINA_EXTRACTOR", "The extractor's handle.")
    offline: bool = _setting(
        False, "VETRINA_OFFLINE", "Fetch no models: use those that are on this machine (vetrina models)."
    )
    projection_dims: str = _setting(
        "128",
        "VETRINA_PROJECTION_DIMS",
        "Dimensions that the index keeps (PCA); 0: all; auto: the fewest whose neighbours agree with those of all.",
    )
    index_device: str = _setting(
        "auto",
        "VETRINA_INDEX_DEVICE",
        "Where an index's arithmetic is done: cpu, gpu, or auto: a graphics card where the work is worth it.",
    )
    trees: int = _setting(0, "VETRINA_TREES", "Annoy trees; 0: chosen for the recall target.")
    search_k: int = _setting(0, "VETRINA_SEARCH_K", "Annoy nodes visited by a query; 0: chosen for the recall target.")
    recall_target: float = _setting(0.99, "VETRINA_RECALL_TARGET", "Share of the true 10 nearest a query must find.")
    query_ms: float = _setting(
        0.0,
        "VETRINA_QUERY_MS",
        "CPU milliseconds that a search in the index may take; 0: no limit. The recall target comes first.",
    )
    serve_with: str = _setting(
        "auto", "VETRINA_SERVE_WITH", "Search by annoy, exact, or auto: the faster that meets the recall target."
    )
    rebuild_wait: float = _setting(
        600.0, "VETRINA_REBUILD_WAIT", "Seconds that a rebuild waits for batches under way, at most."
    )
    coverage_warning: float = _setting(
        0.8, "VETRINA_COVERAGE_WARNING", "Share of a batch's rows that must become searchable without a warning."
    )
    drift_warning: float = _setting(
        0.2,
        "VETRINA_DRIFT_WARNING",
        "How far a batch may differ from earlier ones without a warning; 0: not at all, 1: in all.",
    )
    min_similarity: float | None = _setting(
        None,
        "VETRINA_MIN_SIMILARITY",
        "Likeness (0 to 1) below which a photo is told that nothing is similar; empty: as calibrated for the index.",
    )
    evaluation_label: str = _setting(
        "",
        "VETRINA_EVALUATION_LABEL",
        "Attribute that makes products alike in the asset `evaluation`; empty: the detector's labels.",
    )
    neighbours: int = _setting(10, "VETRINA_NEIGHBOURS", "Similar products kept for each product (k).")
    hide_duplicates: bool = _setting(
        True,
        "VETRINA_HIDE_DUPLICATES",
        "Leave out results that show the picture of the query or of a better one again.",
    )
    table: str = _setting(
        "auto",
        "VETRINA_TABLE",
        "How the table of similar products is made: exact, index, or auto: exact up to 340 000 pictures and crops.",
    )
    watch: str = _setting(
        "", "VETRINA_WATCH", "A folder or s3:// prefix whose new catalog files become batches; empty: none."
    )
    watch_settle: float = _setting(
        5.0, "VETRINA_WATCH_SETTLE", "Seconds for which a file there must have stayed the same to count as whole."
    )
    sync_source: str = _setting(
        "",
        "VETRINA_SYNC_SOURCE",
        "The whole catalog, synced on a schedule: a path, s3:// or http(s) address; empty: none.",
        secret=True,  # an address may be signed
    )
    sync_name: str = _setting("", "VETRINA_SYNC_NAME", "The synced catalog's name; empty: its file's.")
    sync_cron: str = _setting("0 3 * * *", "VETRINA_SYNC_CRON", "When it is synced, as a cron line.")
    sync_time_zone: str = _setting("UTC", "VETRINA_SYNC_TIME_ZONE", "The time zone of that cron line.")
    sync_deadline: float = _setting(3600.0, "VETRINA_SYNC_DEADLINE", "Seconds that fetching it may take in all.")
    sync_max_bytes: int = _setting(8 << 30, "VETRINA_SYNC_MAX_BYTES", "Largest catalog to be fetched, in bytes.")
    max_removed: float = _setting(
        0.2,
        "VETRINA_SYNC_MAX_REMOVED",
        "Share (0 to 1) of a catalog's products that a snapshot may remove without --confirm-removals.",
    )
    executor: str = _setting(
        "in_process",
        "VETRINA_EXECUTOR",
        "How a Dagster run works through its steps: in_process, multiprocess, celery or kubernetes.",
    )
    celery_broker: str = _setting(
        "redis://127.0.0.1:6379/0",
        "VETRINA_CELERY_BROKER",
        "Where Celery's tasks wait: a URL; may hold a password.",
        secret=True,
    )
    celery_backend: str = _setting(
        "",
        "VETRINA_CELERY_BACKEND",
        "Where Celery's results go: a URL; empty: the broker, which Redis can be both of.",
        secret=True,
    )
    max_run_seconds: int = _setting(
        86_400, "VETRINA_MAX_RUN_SECONDS", "A run that takes longer is ended by Dagster's daemon; 0: none is."
    )
    serve_token: str = _setting(
        "",
        "VETRINA_SERVE_TOKEN",
        "What a caller must show to change something over HTTP, 16 characters or more; empty: nothing can be.",
        secret=True,
    )
    serve_max_upload: int = _setting(20 << 20, "VETRINA_SERVE_MAX_UPLOAD", "Largest photo to search with, in bytes.")
    serve_fetch: bool = _setting(
        True, "VETRINA_SERVE_FETCH", "Let callers name a photo by its public address, which is then fetched from here."
    )
    serve_waiting: int = _setting(
        64, "VETRINA_SERVE_WAITING", "Requests that wait for their turn; more are told to come back later."
    )
    serve_connections: int = _setting(512, "VETRINA_SERVE_CONNECTIONS", "Connections at the same time.")
    serve_refresh: float = _setting(
        5.0, "VETRINA_SERVE_REFRESH", "Seconds after which the server looks whether the shop has changed."
    )
    serve_trusted_proxies: str = _setting(
        "",
        "VETRINA_SERVE_TRUSTED_PROXIES",
        "Addresses or networks, comma-separated, of proxies whose X-Forwarded-For and -Proto are believed.",
    )
    dagster_url: str = _setting(
        "", "VETRINA_DAGSTER_URL", "Where people reach Dagster's UI, for links: http://…; empty: no links."
    )
    same_class: bool = _setting(
        False, "VETRINA_SAME_CLASS", "In the table, products of the same detected class come first."
    )

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
    ) -> Settings:
        """Defaults, with what the environment sets, with `overrides` (by field).

        Raises:
            SettingError: a value cannot be used; names the variable and the fault.
        """
        values: dict[str, Any] = {}
        source = os.environ if environment is None else environment
        for item in dataclasses.fields(cls):
            text = source.get(item.metadata["env"], "").strip()
            if text:
                values[item.name] = _parse(text, str(item.type), item.metadata["env"])
        settings = cls(**values | dict(overrides or {}))
        settings.check()
        return settings

    def check(self) -> None:
        """Raise SettingError for a value out of its range."""
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise SettingError(f"{item.metadata['env']} is {value}; it must be a finite number")
        shares = {
            "VETRINA_RECALL_TARGET": self.recall_target,
            "VETRINA_MIN_BOX": self.min_box,
            "VETRINA_COVERAGE_WARNING": self.coverage_warning,
            "VETRINA_DRIFT_WARNING": self.drift_warning,
            "VETRINA_SYNC_MAX_REMOVED": self.max_removed,
        }
        if self.min_score is not None:
            shares["VETRINA_MIN_SCORE"] = self.min_score
        if self.min_similarity is not None:
            shares["VETRINA_MIN_SIMILARITY"] = self.min_similarity
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise SettingError(f"{name} is {value}; it must lie between 0 and 1")
        projection_dims_of(self.projection_dims)
        if self.index_device not in ("auto", "cpu", "gpu"):
            raise SettingError(f"VETRINA_INDEX_DEVICE is {self.index_device!r}; use one of auto, cpu, gpu")
        if self.serve_token and len(self.serve_token) < 16:
            raise SettingError(
                "VETRINA_SERVE_TOKEN is shorter than 16 characters, so it could be guessed; make one with "
                "python3 -c 'import secrets; print(secrets.token_urlsafe(24))'"
            )
        if self.serve_refresh == 0:
            raise SettingError(f"VETRINA_SERVE_REFRESH is {self.serve_refresh}; it must be more")
        if self.dagster_url and not self.dagster_url.startswith(("http://", "https://")):
            raise SettingError(f"VETRINA_DAGSTER_URL is {self.dagster_url!r}; it must begin with http:// or https://")
        if self.table not in ("auto", "exact", "index"):
            raise SettingError(f"VETRINA_TABLE is {self.table!r}; use one of auto, exact, index")
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, int | float) and value < 0:
                raise SettingError(f"{item.metadata['env']} is {value}; it must not be negative")
        for name, number in {
            "VETRINA_NEIGHBOURS": self.neighbours,
            "VETRINA_FETCH_CONCURRENCY": self.fetch_concurrency,
            "VETRINA_FETCH_PER_HOST": self.fetch_per_host,
            "VETRINA_FETCH_ATTEMPTS": self.fetch_attempts,
            "VETRINA_SERVE_MAX_UPLOAD": self.serve_max_upload,
            "VETRINA_SERVE_CONNECTIONS": self.serve_connections,
        }.items():
            if number < 1:
                raise SettingError(f"{name} is {number}; it must be at least 1")

    @property
    def worker_count(self) -> int:
        """Pictures to work on at the same time: the setting, or the cores this process may use."""
        return self.workers or len(os.sched_getaffinity(0))


def projection_dims_of(text: str) -> int | Literal["auto"] | None:
    """VETRINA_PROJECTION_DIMS as the index takes it: a number, None (all) or "auto". Raises SettingError."""
    if text == "auto":
        return "auto"
    if not text.isdecimal():
        raise SettingError(f"VETRINA_PROJECTION_DIMS is {text!r}; use a number of dimensions, 0 (all) or auto")
    return int(text) or None


def offline() -> bool:
    """VETRINA_OFFLINE alone: models are opened in many places that know no other setting. Raises SettingError."""
    return bool(_parse(os.environ.get("VETRINA_OFFLINE", "").strip() or "no", "bool", "VETRINA_OFFLINE"))


def _parse(text: str, kind: str, env: str) -> Any:
    if kind == "bool":
        folded = text.lower()
        if folded in {"1", "true", "yes", "on"}:
            return True
        if folded in {"0", "false", "no", "off"}:
            return False
        raise SettingError(f"{env} is {text!r}; use yes or no")
    try:
        if kind == "int":
            return int(text)
        if kind.startswith("float"):
            return float(text)
    except ValueError as error:
        raise SettingError(f"{env} is {text!r}; it must be a number") from error
    return text
