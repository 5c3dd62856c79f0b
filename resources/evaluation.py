"""What the shop is evaluated by, as a Dagster resource."""

import dagster as dg
from pydantic import Field

from vetrina.evaluation.labels import DETECTED


class EvaluationResource(dg.ConfigurableResource):
    """What makes products alike where an evaluation does not say."""

    label: str = Field(description="A catalog attribute; empty: what the detector saw (VETRINA_EVALUATION_LABEL).")

    @property
    def default_label(self) -> str:
        """The label, as an evaluation knows it."""
        return self.label or DETECTED
