"""The HTTP API: routes that answer JSON."""
