"""What the operations routes answer, described: for the API's document, and for the tests against real answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

States = Annotated[
    dict[str, int],
    Field(description="State → rows that ended in it; they add up to `rows`. States of no row are left out."),
]
Reasons = Annotated[
    dict[str, int], Field(description="`state: reason` → rows with that problem, the most frequent first.")
]
Time = Annotated[str, Field(description="ISO 8601, in UTC.")]
Share = Annotated[float, Field(description="0 to 1.")]


class SetAside(BaseModel):
    """A catalog that could not be taken in."""

    source: str = Field(description="The file or address, without secrets.")
    found_by: Literal["watch", "sync"]
    reason: str = Field(description="What is wrong, where, and what to do.")
    since: Time


class Coverage(BaseModel):
    """Where the rows of the shop ended."""

    rows: int
    states: States
    reasons: Reasons
    searchable: int = Field(description="Products that can be found.")
    failed: int = Field(description="Products whose picture failed.")
    set_aside: list[SetAside]


class RowProblem(BaseModel):
    """A row with a problem."""

    batch: str
    line: int | None = Field(description="Of the catalog file; null for a product known from an earlier file.")
    product_id: str | None
    state: str
    reason: str = Field(description="A stable code.")
    detail: str = Field(description="For people.")


class RowProblems(BaseModel):
    """Some rows with problems, and how many there are in all."""

    problems: list[RowProblem]
    total: int


class DagsterLinks(BaseModel):
    """Pages of Dagster's UI; null where VETRINA_DAGSTER_URL is not set."""

    partition: str | None
    runs: str | None


class Batch(BaseModel):
    """One arrival of catalog changes."""

    batch: str
    catalog: str
    file: str
    mode: Literal["delta", "snapshot"]
    origin: Literal["command", "watch", "sync"]
    registered_at: Time
    state: Literal["waiting", "unusable", "pending", "done"] = Field(
        description="Waiting to be read; unusable, see `error`; pending, something of it is still to come; done."
    )
    error: str | None
    rows: int
    states: States
    reasons: Reasons
    dagster: DagsterLinks


class BatchList(BaseModel):
    """Some batches, the newest first, and how many there are in all."""

    batches: list[Batch]
    total: int


class Verdict(BaseModel):
    """One judgement."""

    check: str
    passed: bool
    message: str
    facts: dict[str, Any] = Field(description="The figures behind it.")


class BatchInFull(Batch):
    """A batch, and what is judged of it."""

    sha256: str = Field(description="Of the catalog file, hex.")
    verdicts: list[Verdict]


class ClassRecall(BaseModel):
    """How well Annoy finds the neighbours of the products of a class."""

    class_name: str | None = Field(alias="class", description="Open Images class; null: nothing was detected.")
    recall: Share
    lower_95: float | None = Field(description="Its lower 95 % confidence bound; null in an index of before.")
    queries: int


class VersionFacts(BaseModel):
    """What an index version holds, and how good it was measured to be."""

    products: int
    items: int = Field(description="Pictures and crops.")
    dims: int
    created_at: Time
    serve_with: Literal["annoy", "exact"]
    serve_reason: str
    extractor: str | None
    fingerprints: dict[str, str] = Field(description="Role → fingerprint of the model.")
    recall: Share = Field(description="Of the true `recall_k` nearest that Annoy finds; exact search misses none.")
    recall_lower_95: Share
    recall_target: Share
    recall_k: int
    recall_met: bool
    queries: int
    exact_classes: list[str] = Field(description="Classes that are searched exactly, since Annoy finds too few.")
    classes: list[ClassRecall]


class VersionRecord(BaseModel):
    """One publication of an index version."""

    number: int
    version: str
    published_at: Time
    note: str
    restores: int | None = Field(description="The number of the publication that this rollback restores.")
    current: bool
    usable: bool = Field(description="Its files are there in their sizes.")
    problem: str | None
    can_be_restored: bool
    index: VersionFacts | None = Field(description="Null where the version is not usable.")


class Shown(BaseModel):
    """What this server answers from."""

    version: str | None = Field(description="Null while there is nothing to show.")
    for_seconds: float
    products: int
    newer_than_index: int
    problem: str | None = Field(description="Why the last look at the store failed.")


class VersionList(BaseModel):
    """Some publications, the newest first."""

    current: VersionRecord | None
    versions: list[VersionRecord]
    total: int
    damaged: list[str] = Field(description="A line for each newer publication that had to be passed over.")
    shown: Shown


class Estimate(BaseModel):
    """A measure with its 95 % interval."""

    value: float
    low: float
    high: float


class Report(BaseModel):
    """An evaluation report in the store."""

    version: str = Field(description="The index version that was evaluated.")
    name: str
    made_at: Time
    bytes: int = Field(description="Of its HTML.")
    label: str | None = Field(description="What made products alike.")
    queries: int | None
    measures: dict[str, Estimate]
    problem: str | None


class ReportList(BaseModel):
    """Some reports, the newest first, and how many there are in all."""

    reports: list[Report]
    total: int


class Retry(BaseModel):
    """The retry that runs, or the last one since the server started."""

    state: Literal["none", "running", "done", "failed"] = Field(description="Failed also when only some batches did.")
    since: str | None = Field(description="ISO 8601, in UTC.")
    ended: str | None
    report: dict[str, Any] | None = Field(description="What it did, as `vetrina retry --json`.")
    error: str | None = Field(description="One sentence on why it failed.")


class Rollback(BaseModel):
    """The publication that a rollback made."""

    number: int
    version: str
    manifest_sha256: str
    published_at: Time
    note: str
    restores: int | None
    table: bool = Field(description="Whether its table of similar products is the shop's again, too.")
    extractor: str | None
    other_extractor: bool = Field(description="Whether it was made with another extractor than the settings name.")
    shown: Shown
