"""The partitions that assets share."""

import dagster as dg

catalog_batch = dg.DynamicPartitionsDefinition(name="catalog_batch")
"""One for each arrival of catalog changes; the key is `vetrina.catalog.batches.Batch.key`."""
