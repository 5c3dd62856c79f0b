"""Lets a process that a test starts know the extractor `test:colours`: with this folder on PYTHONPATH."""

from support.extractors import know_colours

know_colours()
