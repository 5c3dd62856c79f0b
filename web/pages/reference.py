"""The API for people: its document (OpenAPI) as a page, with lines to copy that work on the shop that is shown."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup, escape

from vetrina.errors import NotFound, VetrinaError
from web.house import House, TheHouse
from web.pages.drawing import page, templates
from web.shown.showing import Showcase

router = APIRouter()

_CODE = re.compile(r"`([^`]+)`")
_PHOTO = "photo.jpg"
_PICTURE = "-o picture.jpg"  # curl does not write bytes to a screen
_TOKEN = '-H "Authorization: Bearer $VETRINA_SERVE_TOKEN"'
_BODIES = {
    "image/*": f"--data-binary @{_PHOTO}",
    "multipart/form-data": f"-F photo=@{_PHOTO}",
    "application/json": "--json",
}
"""Media types of bodies that are shown, and how curl sends them."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a route; `takes` says in words what it may be."""

    name: str
    required: bool
    takes: str
    says: str


@dataclass(frozen=True, slots=True)
class Operation:
    """A route.

    Attributes:
        says: paragraphs.
        lines: commands to copy.
        answer: an example.
        problems: status and title.
        guarded: it needs the token.
    """

    name: str
    method: str
    path: str
    says: list[str]
    parameters: list[Parameter]
    lines: list[str]
    answer: str
    problems: list[tuple[str, str]]
    guarded: bool


@dataclass(frozen=True, slots=True)
class Chapter:
    """Routes of one kind."""

    name: str
    says: str
    operations: list[Operation]


@router.get("/api", name="reference", response_class=HTMLResponse)
async def reference(request: Request, house: TheHouse) -> HTMLResponse:
    """The API's reference."""
    document = request.app.openapi()
    address = str(request.base_url).rstrip("/")
    report = await _report(house)

    def drawn() -> HTMLResponse:
        chapters = chapters_of(document, address, _values(house.showcase) | report)
        says = document["info"]["description"]
        return page(request, "reference.html", here="reference", chapters=chapters, says=says)

    return await house.asking.run(drawn)


def chapters_of(document: Mapping[str, Any], address: str, values: Mapping[str, str]) -> list[Chapter]:
    """A document as chapters.

    Args:
        address: of the server, for the lines to copy.
        values: what to ask for, by parameter, or by path and parameter as in "/api/v1/batch?id".
    """
    by_tag: dict[str, list[Operation]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            by_tag[said["tags"][0]].append(_operation(path, method.upper(), said, address, values))
    return [Chapter(tag["name"], tag["description"], by_tag[tag["name"]]) for tag in document["tags"]]


def _operation(path: str, method: str, said: Mapping[str, Any], address: str, values: Mapping[str, str]) -> Operation:
    parameters = said.get("parameters", [])
    guarded = bool(said.get("security"))
    good = next(answer for status, answer in said["responses"].items() if status.startswith("2"))
    media, content = next(iter(good["content"].items()))
    return Operation(
        name=said["operationId"],
        method=method,
        path=path,
        says=said["description"].split("\n\n"),
        parameters=[
            Parameter(one["name"], one["required"], _takes(one["schema"]), one.get("description", ""))
            for one in parameters
        ],
        lines=_lines(path, method, parameters, said.get("requestBody"), guarded, address, values, media),
        answer=_example(media, content),
        problems=[
            (status, answer["description"])
            for status, answer in sorted(said["responses"].items())
            if status.startswith(("4", "5"))
        ],
        guarded=guarded,
    )


def _lines(
    path: str,
    method: str,
    parameters: list[dict[str, Any]],
    body: dict[str, Any] | None,
    guarded: bool,
    address: str,
    values: Mapping[str, str],
    media: str,
) -> list[str]:
    """How curl asks: with what must be given, once for each way to send a body. `media` is what comes back."""
    names = [one["name"] for one in parameters if one["required"]]
    asked = {name: values.get(f"{path}?{name}", values.get(name, name.upper())) for name in names}
    for one in parameters:
        if one["in"] == "path":
            path = path.replace(f"{{{one['name']}}}", quote(asked.pop(one["name"]), safe=""))
    url = shlex.quote(f"{address}{path}" + (f"?{urlencode(asked)}" if asked else ""))
    token = [_TOKEN] if guarded else []
    if body is None:
        options = [_PICTURE] if media.startswith("image/") else [f"-X {method}"] if method != "GET" else []
        return [" ".join(["curl", *options, *token, url])]
    lines = []
    for kind, content in body["content"].items():
        if kind in _BODIES:
            examples = [one["value"] for one in content.get("examples", {"": {"value": {}}}).values()]
            of_shop = [{name: values.get(name, value) for name, value in one.items()} for one in examples]
            sent = [shlex.quote(json.dumps(one, ensure_ascii=False)) for one in of_shop]
            ways = [[_BODIES[kind], what] for what in sent] if "json" in kind else [[_BODIES[kind]]]
            lines += [" ".join(["curl", *token, *way, url]) for way in ways]
    return lines


def _takes(schema: Mapping[str, Any]) -> str:
    """What a parameter may be, in words."""
    kind = next((one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"), schema)
    words = {
        "array": "text, as often as there are",
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "true or false",
    }
    says = words.get(kind.get("type", ""), "")
    if "minimum" in kind and "maximum" in kind and kind["maximum"] < 1 << 31:
        says += f", {kind['minimum']} to {kind['maximum']}"
    if schema.get("default") not in (None, ""):
        says += f"; {json.dumps(schema['default'])} if not given"
    return says


def _example(media: str, content: Mapping[str, Any]) -> str:
    if media.startswith("image/"):
        return f"Content-Type: {media}\n\n(the bytes of the picture)"
    example = content.get("example", "")
    return example if isinstance(example, str) else json.dumps(example, ensure_ascii=False, indent=2)


def _values(showcase: Showcase) -> dict[str, str]:
    """Products of the shop to ask for; made up where it has none yet."""
    try:
        showing = showcase.now
        products = showing.goods.first(2)
        batch = showing.window.engine.items_of(products[0].product_id)[0].batch
    except (NotFound, IndexError):
        return {"id": "SKU-1", "result": "SKU-2", "sha256": "0" * 64}
    return {
        "id": products[0].product_id,
        "product_id": products[0].product_id,
        "result": products[-1].product_id,
        "sha256": products[0].sha256,
        "/api/v1/batch?id": batch,
    }


async def _report(house: House) -> dict[str, str]:
    """The newest evaluation report, to ask for; nothing where there is none, or none that can be read."""
    try:
        newest = (await house.operations.reports(0, 1))["reports"]
    except VetrinaError:
        return {}
    return {f"/api/v1/report?{name}": one[name] for one in newest if not one["problem"] for name in ("version", "name")}


def _marked(text: str) -> Markup:
    """A text whose `code` is set apart."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))


templates.env.filters["marked"] = _marked
