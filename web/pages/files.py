"""Style and scripts: read once, addressed by what they hold, so that a browser keeps them and never has an old one."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from pathlib import Path

from fastapi import APIRouter, Request, Response

from vetrina.errors import NotFound

router = APIRouter()


class Files:
    """The files of a folder, held in memory as they are and compressed.

    Attributes:
        version: stands for all of them together, because scripts name one another without it.
    """

    def __init__(self, folder: Path) -> None:
        self._held = {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()}
        self._small = {name: gzip.compress(data, mtime=0) for name, data in self._held.items()}
        whole = hashlib.sha256()
        for name, data in self._held.items():
            whole.update(f"{name}\0{len(data)}\0".encode() + data)
        self.version = whole.hexdigest()[:12]

    def answer(self, name: str, *, compressed: bool) -> Response:
        """A file. Raises NotFound."""
        if name not in self._held:
            raise NotFound(f"There is no file {name!r} here")
        headers = {"Vary": "Accept-Encoding"} | ({"Content-Encoding": "gzip"} if compressed else {})
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return Response((self._small if compressed else self._held)[name], headers=headers, media_type=kind)


FILES = Files(Path(__file__).parent.parent / "static")


@router.get("/static/{version}/{name}", name="file", include_in_schema=False)
async def file(request: Request, version: str, name: str) -> Response:
    """A file of the pages; one asked for by another version is given as it is now, and not kept."""
    answer = FILES.answer(name, compressed="gzip" in request.headers.get("accept-encoding", ""))
    kept = "public, max-age=31536000, immutable" if version == FILES.version else "no-cache"
    answer.headers["Cache-Control"] = kept
    return answer
