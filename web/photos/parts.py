"""The part of a picture that a request names: a box that was drawn, or a detected object by its number."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query

from vetrina.detection.crops import Box
from web.problems import Problem


def parse_box(text: str) -> Box:
    """A box as a request writes it. Raises Problem."""
    box: Box | None
    try:
        box = Box(*(float(side) for side in text.split(",")))
    except (ValueError, TypeError):
        box = None
    # Written so that what is no number is refused too.
    if box is None or not (0 <= box.ymin < box.ymax <= 1 and 0 <= box.xmin < box.xmax <= 1):
        raise Problem(
            400,
            "bad-request",
            "The request cannot be understood",
            "box must be ymin,xmin,ymax,xmax: four shares of the picture from 0 to 1, such as 0.1,0.2,0.8,0.9",
        )
    return box


def part(
    box: Annotated[
        str | None,
        Query(max_length=200, description="Only this part of the photo: ymin,xmin,ymax,xmax as shares, 0 to 1."),
    ] = None,
    number: Annotated[
        int | None,
        Query(alias="object", ge=0, le=1000, description="Only this detected object: its number in `detections`."),
    ] = None,
) -> Box | int | None:
    """What of a photo counts; None: the whole photo and everything detected on it. Raises Problem."""
    if box and number is not None:
        raise Problem(
            400, "bad-request", "The request cannot be understood", "Give either a box or an object, not both"
        )
    return parse_box(box) if box else number


ThePart = Annotated[Box | int | None, Depends(part)]
