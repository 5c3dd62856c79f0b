"""The client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import requests

from vetrina_client.answers import Answer, Box, ListedProduct, Listing, Product
from vetrina_client.problems import Problem, Unreachable, problem_of

T = TypeVar("T")
_BUSY = 503
_PAGE = 500


class Vetrina:
    """Vetrina's HTTP API; a context manager, to be used from one thread at a time.

    A server that is busy says when to come back (Retry-After), and is asked again then. Every method raises Problem
    when the API's answer is an error, and Unreachable when there is none.

    Args:
        address: where the server is, with the prefix that a proxy serves it under: "https://shop.example/vetrina".
        timeout: seconds to wait for a connection, and for each part of an answer.
        attempts: how often a busy server is asked, at least once.
        patience: the longest wait before it is asked again, in seconds; one that wants more is not asked again.

    Example:
        >>> with Vetrina("http://127.0.0.1:8000") as vetrina:  # doctest: +SKIP
        ...     [other.product_id for other in vetrina.similar("SKU-1", k=3).similar]
        ['SKU-7', 'SKU-3', 'SKU-12']
    """

    def __init__(self, address: str, *, timeout: float = 30.0, attempts: int = 4, patience: float = 10.0) -> None:
        self._api = f"{address.rstrip('/')}/api/v1"
        self._timeout = timeout
        self._attempts = max(1, attempts)
        self._patience = patience
        self._session = requests.Session()

    def __enter__(self) -> Vetrina:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._session.close()

    def similar(
        self,
        product_id: str,
        *,
        k: int = 10,
        class_name: str | None = None,
        where: str | None = None,
        duplicates: bool | None = None,
        exclude: Sequence[str] = (),
        exact: bool = False,
    ) -> Answer:
        """The products most similar to a product, without itself.

        Args:
            k: how many, 1 to 1000.
            class_name: only products of this Open Images class, or of one within it.
            where: only products whose catalog attributes pass: `category = "Living room" and price < 100`.
            duplicates: also products that show the same picture again; None: as the server's settings say.
            exclude: ids of products that are not wanted, such as what is in the basket.
            exact: compare with everything; `missed` then says what the index lacks.
        """
        asked = _conditions(k, class_name, where, duplicates, exclude, exact)
        return _understood(self._ask("GET", "similar", {"id": product_id, **asked}), Answer.of)

    def search(
        self,
        photo: bytes | Path,
        *,
        k: int = 10,
        number: int | None = None,
        box: Box | None = None,
        class_name: str | None = None,
        where: str | None = None,
        duplicates: bool | None = None,
        exclude: Sequence[str] = (),
        exact: bool = False,
        min_similarity: float | None = None,
    ) -> Answer:
        """The products most similar to a photo, or to one thing on it.

        Args:
            photo: its bytes, or a file.
            number: only this detected thing (`Detection.number` of an earlier answer).
            box: only this part of it.
            min_similarity: likeness, 0 to 1, below which nothing is similar; None: as the server's settings say.
            k, class_name, where, duplicates, exclude, exact: as `similar`.

        Example:
            >>> answer = vetrina.search(Path("sofa.jpg"))  # doctest: +SKIP
            >>> answer.query.detections[0].class_name  # doctest: +SKIP
            'Couch'
            >>> vetrina.search(Path("sofa.jpg"), number=0)  # doctest: +SKIP
        """
        data = photo.read_bytes() if isinstance(photo, Path) else photo
        return self._search(
            {"data": data, "headers": {"Content-Type": "application/octet-stream"}},
            _part(number, box) | _conditions(k, class_name, where, duplicates, exclude, exact, min_similarity),
        )

    def search_address(
        self, url: str, *, k: int = 10, number: int | None = None, box: Box | None = None, where: str | None = None
    ) -> Answer:
        """As `search`, of a photo that the server fetches from a public address."""
        return self._search({"json": {"url": url}}, _part(number, box) | _conditions(k, None, where, None, (), False))

    def product(self, product_id: str) -> Product:
        """One product."""
        return _understood(self._ask("GET", "product", {"id": product_id}), Product.of)

    def products(
        self,
        text: str = "",
        *,
        class_name: str | None = None,
        where: str | None = None,
        start: int = 0,
        count: int = 60,
    ) -> Listing:
        """Products by name: those whose name or id has all the words, of a class, passing a filter.

        Args:
            start, count: which part of them.
        """
        asked = {"q": text, "class": class_name, "where": where, "start": start, "count": count}
        return _understood(self._ask("GET", "products", asked), Listing.of)

    def every_product(
        self, text: str = "", *, class_name: str | None = None, where: str | None = None
    ) -> Iterator[ListedProduct]:
        """All products that match, asked for in parts."""
        start = 0
        while True:
            part = self.products(text, class_name=class_name, where=where, start=start, count=_PAGE)
            yield from part.products
            start += len(part.products)
            if not part.products or start >= part.total:
                return

    def picture(self, sha256: str, *, side: int = 480, box: Box | None = None) -> bytes:
        """A product's picture, or a part of it, as JPEG.

        Args:
            side: its longest side in pixels: 96, 240, 480 or 960.
        """
        return self._ask("GET", f"pictures/{sha256}", {"side": side, **_part(None, box)}).content

    def _search(self, body: dict[str, Any], asked: dict[str, Any]) -> Answer:
        return _understood(self._ask("POST", "search", asked, **body), Answer.of)

    def _ask(self, method: str, path: str, asked: dict[str, Any], **body: Any) -> requests.Response:
        for attempt in range(1, self._attempts + 1):
            try:
                answer = self._session.request(
                    method, f"{self._api}/{path}", params=asked, timeout=self._timeout, allow_redirects=False, **body
                )
            except requests.RequestException as error:
                raise Unreachable(f"{self._api} cannot be reached: {error}") from error
            if answer.status_code == requests.codes.ok:
                return answer
            problem = _problem(answer)
            wait = _retry_after(answer)
            if answer.status_code != _BUSY or attempt == self._attempts or wait is None or wait > self._patience:
                raise problem
            time.sleep(wait)
        raise AssertionError("an attempt returns or raises")


def _conditions(
    k: int,
    class_name: str | None,
    where: str | None,
    duplicates: bool | None,
    exclude: Sequence[str],
    exact: bool,
    min_similarity: float | None = None,
) -> dict[str, Any]:
    """Query parameters; `requests` leaves out what is None."""
    return {
        "k": k,
        "class": class_name,
        "where": where,
        "duplicates": None if duplicates is None else str(duplicates).lower(),
        "exclude": list(exclude),
        "exact": "true" if exact else None,
        "min_similarity": min_similarity,
    }


def _part(number: int | None, box: Box | None) -> dict[str, Any]:
    return {"object": number, "box": None if box is None else ",".join(map(str, box))}


def _understood(answer: requests.Response, read: Callable[[Any], T]) -> T:
    try:
        return read(answer.json())
    except (ValueError, KeyError, TypeError) as error:
        raise Unreachable(f"{answer.url} answered what cannot be understood; is it the address of Vetrina?") from error


def _problem(answer: requests.Response) -> Problem:
    try:
        said = answer.json()
    except ValueError:
        said = None
    return problem_of(answer.status_code, answer.reason, said)


def _retry_after(answer: requests.Response) -> float | None:
    """Seconds; None where the server does not say."""
    try:
        return max(0.0, float(answer.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None
