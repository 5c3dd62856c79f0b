"""What goes wrong between a program and the API."""

from __future__ import annotations

from typing import Any


class Problem(Exception):
    """The API's answer was an error (RFC 9457).

    Attributes:
        status: HTTP status.
        kind: stable name such as not-found, bad-request, picture, busy; `http` where the answer was no problem of
            Vetrina's, but of a proxy before it.
        title: what kind of problem it is, in words.
        detail: this one, and what to do.
        more: further members, such as `reason` of a picture that cannot be used.
    """

    def __init__(self, status: int, kind: str, title: str, detail: str, more: dict[str, Any] | None = None) -> None:
        super().__init__(f"{title}: {detail}" if detail else title)
        self.status = status
        self.kind = kind
        self.title = title
        self.detail = detail
        self.more = more or {}


class Unreachable(Exception):
    """The server was not reached, did not answer in time, or answered what cannot be understood."""


_PREFIX = "urn:vetrina:problem:"


def problem_of(status: int, reason: str, said: Any) -> Problem:
    """The problem in an answer; `said` is its JSON, None if it had none."""
    if not isinstance(said, dict) or not str(said.get("type", "")).startswith(_PREFIX):
        return Problem(status, "http", f"{status} {reason}".strip(), "")
    members = dict(said)
    kind = str(members.pop("type")).removeprefix(_PREFIX)
    title, detail = str(members.pop("title", "")), str(members.pop("detail", ""))
    members.pop("status", None)
    return Problem(status, kind, title, detail, members)
