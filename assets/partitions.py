"""The partitions that assets share, and how many of them one run works through."""

import dagster as dg

catalog_batch = dg.DynamicPartitionsDefinition(name="catalog_batch")
"""One for each arrival of catalog changes; the key is `vetrina.catalog.batches.Batch.key`."""

BATCHES_PER_RUN = 100
"""Of a backfill: one process, so one load of the models, for that many batches."""

many_at_once = dg.BackfillPolicy.multi_run(max_partitions_per_run=BATCHES_PER_RUN)
"""The backfill policy of everything that belongs to a batch."""
