"""Vetrina's domain: catalogs, pictures, detections, embeddings, index, search.

Nothing here knows Dagster, and nothing here imports TensorFlow until a model that needs it is opened.
"""

__version__ = "0.1.0"
