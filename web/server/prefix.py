"""Behind a proxy that serves this under a path of its own, such as /vetrina."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from vetrina.errors import SettingError

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")


class Prefix:
    """Lets the application see the same path whether the proxy strips the prefix or not."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI."""
        if scope["type"] == "http":
            path: str = scope["path"]
            if path != self._prefix and not path.startswith(self._prefix + "/"):
                scope["path"] = self._prefix + path
            elif path == self._prefix:
                scope["path"] = path + "/"
        await self._app(scope, receive, send)


def checked_prefix(prefix: str, taken: set[str]) -> str:
    """A prefix as it is used: "" or "/…" without a slash at its end.

    Args:
        taken: first parts of the application's own paths; one of them as a prefix could not be told from the path.

    Raises:
        SettingError: it cannot be used.
    """
    prefix = prefix.rstrip("/")
    if not prefix:
        return ""
    parts = prefix.split("/")[1:]
    if not _PREFIX.fullmatch(prefix) or {".", ".."} & set(parts):
        raise SettingError(f"The prefix {prefix!r} is no path; write for example /vetrina")
    if parts[0] in taken:
        raise SettingError(
            f"The prefix {prefix!r} begins with a path of Vetrina's own; choose another, such as /vetrina"
        )
    return prefix
