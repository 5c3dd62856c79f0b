"""Memory that the bytes of strangers may take, over all requests."""

from __future__ import annotations

from types import TracebackType

from web.problems import Problem


class Room:
    """So many bytes and no more; used by one event loop.

    Attributes:
        left: bytes that are free.
    """

    def __init__(self, most: int) -> None:
        self.left = most

    def claim(self) -> Claim:
        """A share of the room: nothing yet, grows as it is used, given back when its block ends."""
        return Claim(self)

    def take(self, count: int) -> None:
        """Raises Problem (503) when there is not so much left."""
        if count > self.left:
            raise Problem(
                503,
                "busy",
                "Too many photos come in",
                "Send the photo again in a few seconds",
                headers={"Retry-After": "3"},
            )
        self.left -= count

    def give_back(self, count: int) -> None:
        """What was taken."""
        self.left += count


class Claim:
    """One request's share of a room; a context manager."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._taken = 0

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._room.give_back(self._taken)
        self._taken = 0

    def take(self, count: int) -> None:
        """Take more. Raises Problem (503) when there is not so much left."""
        self._room.take(count)
        self._taken += count
