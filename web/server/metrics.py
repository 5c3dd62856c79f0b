"""What the server tells Prometheus, in a registry of the application's own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from vetrina.index.manifest import Manifest
from web.problems import NothingToShow
from web.shown.showing import Showcase

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counts of requests, and figures of what is shown.

    Attributes:
        in_flight: requests being answered.
        from_cache: answers that had been made before.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter(
            "vetrina_requests", "Requests answered.", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "vetrina_request_seconds", "Time to answer.", ("route",), buckets=_SECONDS, registry=self._registry
        )
        self._turned_away = Counter(
            "vetrina_turned_away",
            "Requests told to come back later: the queue was full (queue), or too many were connected (connections).",
            ("why",),
            registry=self._registry,
        )
        for why in ("queue", "connections"):
            self._turned_away.labels(why)
        self.in_flight = Gauge("vetrina_requests_in_flight", "Requests being answered.", registry=self._registry)
        self.from_cache = Counter(
            "vetrina_answers_from_cache", "Answers that had been made before.", registry=self._registry
        )
        ProcessCollector(registry=self._registry)

    def watch(self, showcase: Showcase) -> None:
        """Also tell what is shown."""
        self._registry.register(_Shown(showcase))

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def turned_away(self, why: str) -> None:
        """A request was told to come back later."""
        self._turned_away.labels(why).inc()

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self._registry)


class _Shown(Collector):
    """Figures of what is shown, read when they are asked for."""

    def __init__(self, showcase: Showcase) -> None:
        self._showcase = showcase

    def collect(self) -> Iterator[Metric]:
        now = time.time()
        showcase = self._showcase
        yield _gauge("last_look_success", "Whether the last look at the store succeeded.", showcase.problem is None)
        if showcase.looked_at:
            yield _gauge("last_look_age_seconds", "Since a look at the store succeeded.", now - showcase.looked_at)
        try:
            showing = showcase.now
        except NothingToShow:
            return
        engine, manifest = showing.window.engine, showing.window.index.manifest
        yield InfoMetricFamily(
            "vetrina_index",
            "The index that answers.",
            value={
                "version": showing.window.index.version,
                "serve_with": manifest.serve_with,
                "extractor": manifest.extractor,
            },
        )
        built = datetime.fromisoformat(manifest.created_at).timestamp()
        yield _gauge("index_age_seconds", "Since the index was built.", now - built)
        yield _gauge("index_products", "Products in the index.", manifest.products)
        yield _gauge("index_items", "Pictures and crops in the index.", manifest.items)
        yield _gauge("products", "Products that can be found.", engine.products)
        yield _gauge("tail_products", "Of these, newer than the index; compared exactly.", engine.newer)
        yield from recall_figures(manifest)


def recall_figures(manifest: Manifest) -> Iterator[Metric]:
    """Of the index as it serves: what is searched exactly misses nothing."""
    recall = manifest.recall
    exact = manifest.serve_with == "exact"
    yield _gauge(
        "index_recall",
        f"Share of the true {recall['k']} nearest that an answer holds; 1 of exact search.",
        1.0 if exact else recall["recall"],
    )
    yield _gauge("index_recall_lower_95", "Its lower 95 % confidence bound.", 1.0 if exact else recall["lower_95"])
    yield _gauge("index_recall_target", "What it is to reach.", recall["target"])
    served = [
        entry
        for entry in recall["by_label"]
        if entry["label"] is not None and not exact and entry["label"] not in manifest.exact_classes
    ]
    if served:
        weakest = min(served, key=lambda entry: float(entry["recall"]))
        family = GaugeMetricFamily(
            "vetrina_index_weakest_class_recall", "Of the class with the lowest recall.", labels=("class",)
        )
        family.add_metric((weakest["label"],), weakest["recall"])
        yield family


def _gauge(name: str, help: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"vetrina_{name}", help, value=float(value))
