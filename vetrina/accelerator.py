"""The device that TensorFlow works on: one way to load TensorFlow, the same for every user of it in a process.

Only here is TensorFlow set up: memory of a card is taken as it is needed, so that several processes share one, and
products are not rounded to ten bits of mantissa, so that a card gives the vectors that the processor gives.
"""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)
_CARD_SIGNS = (Path("/dev/nvidia0"), Path("/proc/driver/nvidia/version"))


def card_present() -> bool:
    """Whether this machine shows a graphics card that TensorFlow may be able to use; asks no driver.

    `CUDA_VISIBLE_DEVICES=-1` (or empty) hides every card from a process, as from TensorFlow itself.
    """
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0") not in ("", "-1") and any(sign.exists() for sign in _CARD_SIGNS)


@lru_cache(maxsize=1)
def tensorflow() -> Any:
    """The module `tensorflow`, loaded and set up; takes seconds the first time."""
    # Its start prints hints for those who build it and, without a card, errors about the card.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if card_present() else "3")
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        for card in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(card, True)
    except RuntimeError as error:  # TensorFlow was used in this process before
        _log.warning("The card's memory is not shared: %s", error)
    return tf


def has_card() -> bool:
    """Whether TensorFlow has a graphics card; loads TensorFlow only where one shows."""
    return card_present() and bool(tensorflow().config.list_physical_devices("GPU"))


def device_name() -> str:
    """What TensorFlow works on, for people: the card's name, or the processor's and its cores. Loads TensorFlow."""
    tf = tensorflow()
    cards = tf.config.list_physical_devices("GPU")
    if cards:
        return str(tf.config.experimental.get_device_details(cards[0]).get("device_name", "a graphics card"))
    return f"{_processor()}, {len(os.sched_getaffinity(0))} cores"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "processor"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "processor")
