"""How far a step is: to the event log now and then, and to whoever listens in this process."""

import time
from collections.abc import Callable

import dagster as dg

from vetrina.pictures.collecting import Progress

_SECONDS_BETWEEN_LOGS = 15.0

Listener = Callable[[str, int, int], None]
"""Told the step's name, how many are done, of how many."""

listeners: list[Listener] = []
"""The command line adds itself here, since its runs share its process."""

line_listeners: list[Callable[[str], None]] = []
"""The same for what a step says in words."""


def progress_of(context: dg.AssetExecutionContext | dg.OpExecutionContext, what: str) -> Progress:
    """Reports progress of a step whose things are called `what`."""
    step = (context.op_execution_context if isinstance(context, dg.AssetExecutionContext) else context).op.name
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        for listener in listeners:
            listener(step, done, total)
        if time.monotonic() - last >= _SECONDS_BETWEEN_LOGS:
            last = time.monotonic()
            context.log.info(f"{done} of {total} {what}")

    return report


def reporter_of(context: dg.AssetExecutionContext) -> Callable[[str], None]:
    """Takes lines that say in words what a step does: to the event log, and to whoever listens in this process."""

    def report(line: str) -> None:
        context.log.info(line)
        for listener in line_listeners:
            listener(line)

    return report
