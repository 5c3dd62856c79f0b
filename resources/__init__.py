"""What assets are given: the store, the fetcher, the decoders, the models, index settings and check thresholds."""
