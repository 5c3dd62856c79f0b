"""The page and the HTTP API."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from orchestration.cli.application import open_deployment, say


class Log(StrEnum):
    """What is said on standard error."""

    WARNINGS = "warnings"
    REQUESTS = "requests"


def serve(
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen at; 0: a free one.")] = 8000,
    prefix: Annotated[str, typer.Option(help="The path that a proxy serves this under, such as /vetrina.")] = "",
    log: Annotated[Log, typer.Option(help="Say what goes wrong only, or also a line for each request.")] = Log.WARNINGS,
) -> None:
    """Serve the page and the HTTP API until it is stopped."""
    from orchestration.serving import ServedShop, limits_of, options_of
    from web.application import build_app
    from web.server import listening

    deployment = open_deployment()
    settings = deployment.settings
    app = build_app(ServedShop(deployment), options_of(settings, prefix))
    listener = listening.bind(host, port)
    shown = f"[{host}]" if ":" in host else host
    say(f"Vetrina at http://{shown}:{listener.getsockname()[1]}{app.root_path}/")
    listening.serve(
        app,
        listener,
        limits=limits_of(settings),
        trusted_proxies=settings.serve_trusted_proxies,
        log_requests=log == Log.REQUESTS,
    )
