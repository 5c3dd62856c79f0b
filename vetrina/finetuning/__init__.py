"""Fine-tuning: an extractor is trained further on a shop's own labelled pictures. Knows no Dagster."""
