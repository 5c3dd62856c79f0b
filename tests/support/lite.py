"""The bundled extractors by their handles."""

from vetrina.embedding.efficientnet_lite import LiteModel
from vetrina.models.handles import parse_handle


def lite(handle: str) -> LiteModel:
    """What the handle chooses."""
    return LiteModel.of(parse_handle(handle))
