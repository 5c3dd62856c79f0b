"""How errors leave a step: those that trying again cannot mend are not tried again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from vetrina.errors import ModelError, SettingError, StoreError, VetrinaError

NETWORK_RETRIES = dg.RetryPolicy(max_retries=3, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""For steps that touch the network: about 2, 4 and 8 seconds later."""

FOR_ALL_BATCHES = (SettingError, ModelError)
"""What goes wrong for one batch goes wrong for every other."""


@contextmanager
def told_to_people() -> Iterator[None]:
    """Turns an error for people into a failure that is not retried; the store may recover, so its errors pass."""
    try:
        yield
    except StoreError:
        raise
    except VetrinaError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
