"""What is good enough, as a Dagster resource."""

import dagster as dg
from pydantic import Field


class QualityResource(dg.ConfigurableResource):
    """Thresholds of the asset checks that warn."""

    least_coverage: float = Field(description="Share of new rows to be searchable (VETRINA_COVERAGE_WARNING).")
    most_drift: float = Field(description="How far a batch may be from earlier ones (VETRINA_DRIFT_WARNING).")
