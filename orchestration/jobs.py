"""The names of the jobs, for whoever starts or watches their runs."""

BATCH_JOB = "batch"
"""Everything that catalog batches need."""
PUBLISH_JOB = "publish"
"""The index and the table of similar products."""
ASSET_JOB = "__ASSET_JOB"
"""Dagster's own: what a person materializes or backfills in the UI."""
