"""What assets are given: the store, the fetcher, the decoders, the models and the index settings."""
