"""The page and the HTTP API."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestration.cli.application import open_deployment, say


def serve(
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen at; 0: a free one.")] = 8000,
    prefix: Annotated[str, typer.Option(help="The path that a proxy serves this under, such as /vetrina.")] = "",
) -> None:
    """Serve the page and the HTTP API."""
    import uvicorn

    from orchestration.serving import ServedShop
    from web.application import build_app
    from web.shop import Options

    deployment = open_deployment()
    settings = deployment.settings
    options = Options(token=settings.serve_token, prefix=prefix, dagster_url=settings.dagster_url)
    say(f"Vetrina at http://{host}:{port}{prefix}/")
    uvicorn.run(build_app(ServedShop(deployment), options), host=host, port=port, log_level="warning")
