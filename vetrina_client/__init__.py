"""A client of Vetrina's HTTP API for a shop's own programs; it needs `requests` and nothing else.

from vetrina_client import Vetrina

with Vetrina("http://127.0.0.1:8000") as vetrina:
    for other in vetrina.similar("SKU-1", k=5).similar:
        print(other.product_id, other.score)
"""

from vetrina_client.answers import (
    Answer,
    ClassCount,
    Detection,
    Found,
    Item,
    LeftOut,
    ListedProduct,
    Listing,
    Photo,
    Product,
)
from vetrina_client.client import Vetrina
from vetrina_client.problems import Problem, Unreachable

__all__ = [
    "Answer",
    "ClassCount",
    "Detection",
    "Found",
    "Item",
    "LeftOut",
    "ListedProduct",
    "Listing",
    "Photo",
    "Problem",
    "Product",
    "Unreachable",
    "Vetrina",
]
