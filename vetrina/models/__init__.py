"""Models: the handles that name them, the folder their weights lie in, and how the bundled ones get there.

Nothing here knows how a model is *used*: that is `vetrina.detection` and `vetrina.embedding`.
"""

from vetrina.models.files import (
    BundledFile,
    fingerprint_of,
    made_once,
    models_folder,
    read_pinned,
    sha256_hex,
    write_atomically,
)

__all__ = [
    "BundledFile",
    "fingerprint_of",
    "made_once",
    "models_folder",
    "read_pinned",
    "sha256_hex",
    "write_atomically",
]
