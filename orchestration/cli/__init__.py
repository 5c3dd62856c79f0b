"""The command line. Every verb takes --json; errors are one line and a non-zero exit.

Exit codes: 0 done (also with some bad rows), 1 something could not be done, 2 the command itself was wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from orchestration.cli import asking, intake, judging, models, serving, upkeep
from orchestration.cli.application import app
from vetrina.errors import NotFound, PictureError, VetrinaError

__all__ = ["app", "main"]

_VERBS: dict[str, tuple[Callable[..., None], ...]] = {
    "Taking catalogs in": (intake.add, intake.sync, intake.retry, intake.demo),
    "Asking": (asking.similar, asking.search, asking.explain, asking.status),
    "Serving": (serving.serve,),
    "Judging": (judging.evaluate, judging.duplicates, judging.kinds),
    "Models": (models.models, models.finetune, models.compare, models.switch),
    "Upkeep": (upkeep.export, upkeep.rollback, upkeep.gc),
}
for _panel, _verbs in _VERBS.items():
    for _verb in _verbs:
        app.command(rich_help_panel=_panel)(_verb)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except (VetrinaError, PictureError) as error:
        print(f"vetrina: {error}", file=sys.stderr)
        sys.exit(1)
    except FileNotFoundError as error:
        print(f"vetrina: {NotFound(f'There is no file {error.filename}; check the path')}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("vetrina: stopped; run the same command again to go on from here", file=sys.stderr)
        sys.exit(130)
