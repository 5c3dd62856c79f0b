"""Where a step wants to run, as the tags that executors read off it; executors that do not know them ignore them.

Only tags and the pool's name belong here: which executor reads them is a matter of deployment
(`orchestration.executors`).
"""

from collections.abc import Mapping
from typing import Any

GPU_POOL = "gpu"
"""The pool of steps that want an accelerator; its limit (dagster.yaml) keeps two of them off one card."""

CPU_STEP: Mapping[str, Any] = {"dagster-celery/queue": "cpu"}
"""Tags of a step that fetches, reads and writes."""

GPU_STEP: Mapping[str, Any] = {
    "dagster-celery/queue": "gpu",
    "dagster-k8s/config": {
        "container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}},
        # Clusters keep other work off their GPU nodes with this taint.
        "pod_spec_config": {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]},
    },
}
"""Tags of a step that wants an accelerator: detection, embedding, index, table, fine-tuning."""
