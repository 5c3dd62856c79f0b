"""The operations view: what goes on, read by all; retry and rollback for who is signed in.

Works without scripts: forms that are answered with a redirect, and what came of them is said by a code in the address.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from vetrina.errors import AlreadyRunning, NotFound
from web.bodies import small_body
from web.house import House, TheHouse
from web.operations.token import address_of, require_own_page, sign_in, sign_out, signed_in
from web.pages import figures
from web.pages.drawing import link, page
from web.problems import Problem

router = APIRouter(prefix="/operations")

_COUNT = 50  # entries of a table
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "same-origin"}  # forms need the Origin header
_REPORT_POLICY = (
    "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_SAID = {
    "started": "Failed pictures are being asked for again. This may take a while; it goes on if you leave.",
    "running": "Failed pictures are being asked for again already; nothing new was started.",
    "rolled-back": "The earlier version is served now.",
    "no-table": "The earlier version is served now. Its table of similar products is not there; materialize "
    "similar_products.",
    "other-extractor": "The earlier version is served now. It was made with another extractor than VETRINA_EXTRACTOR "
    "names: set that, or the next change of the shop publishes an index of the one in use again.",
    "signed-in": "You are signed in: pictures can be asked for again, and earlier versions served.",
    "signed-out": "You are signed out.",
    "sign-in-first": "Sign in first; then press the button again.",
}

Start = Annotated[int, Query(ge=0, le=1 << 40)]
Reason = Annotated[str | None, Query(max_length=300)]
Version = Annotated[str, Query(max_length=100)]


@router.get("", name="operations", response_class=HTMLResponse)
async def overview(request: Request, house: TheHouse) -> Response:
    """Everything at a glance."""
    operations = house.operations
    coverage, versions, batches = await asyncio.gather(
        operations.coverage(), operations.versions(0, 1), operations.batches(0, 5)
    )
    return await _page(
        request,
        house,
        "overview",
        coverage=coverage,
        versions=versions,
        batches=batches,
        retry=operations.retry,
    )


@router.get("/batches", name="operations.batches", response_class=HTMLResponse)
async def batches(request: Request, house: TheHouse, start: Start = 0) -> Response:
    """Batches, the newest first."""
    return await _page(
        request, house, "batches", found=await house.operations.batches(start, _COUNT), start=start, count=_COUNT
    )


@router.get("/batch", name="operations.batch", response_class=HTMLResponse)
async def batch(
    request: Request,
    house: TheHouse,
    key: Annotated[str, Query(alias="id", max_length=300)],
    reason: Reason = None,
    start: Start = 0,
) -> Response:
    """One batch, and its rows that are not searchable."""
    operations = house.operations
    found, problems, coverage = await asyncio.gather(
        operations.batch(key), operations.problems(key, reason or None, start, _COUNT), operations.coverage()
    )
    return await _page(
        request,
        house,
        "batch",
        tab="batches",
        batch=found,
        problems=problems,
        reason=reason,
        start=start,
        count=_COUNT,
        failed=coverage["failed"],
        retry=operations.retry,
    )


@router.get("/problems", name="operations.problems", response_class=HTMLResponse)
async def problems(request: Request, house: TheHouse, reason: Reason = None, start: Start = 0) -> Response:
    """The shop's rows that are not searchable."""
    coverage, found = await asyncio.gather(
        house.operations.coverage(), house.operations.problems(None, reason or None, start, _COUNT)
    )
    return await _page(
        request,
        house,
        "problems",
        coverage=coverage,
        problems=found,
        reason=reason,
        start=start,
        count=_COUNT,
        retry=house.operations.retry,
    )


@router.get("/versions", name="operations.versions", response_class=HTMLResponse)
async def versions(request: Request, house: TheHouse, start: Start = 0) -> Response:
    """Published index versions, the newest first."""
    found = await house.operations.versions(start, _COUNT)
    return await _page(request, house, "versions", found=found, start=start, count=_COUNT)


@router.get("/version", name="operations.version", response_class=HTMLResponse)
async def version(
    request: Request, house: TheHouse, version: Annotated[str, Query(alias="id", max_length=100)]
) -> Response:
    """One index version, with its recall per class."""
    found = await house.operations.version(version)
    return await _page(request, house, "version", tab="versions", **found)


@router.get("/rollback", name="operations.rollback", response_class=HTMLResponse)
async def ask_rollback(request: Request, house: TheHouse, to: Version) -> Response:
    """What a rollback would change, to be confirmed."""
    house.doorkeeper.require_open()
    if not signed_in(request, house):
        return _to_sign_in(request, to)
    found = await house.operations.version(to)
    if not found["version"]["can_be_restored"]:
        raise NotFound(found["version"]["problem"] or f"Index version {to!r} is served already")
    return await _page(request, house, "rollback", tab="versions", **found)


@router.post("/rollback", dependencies=[Depends(require_own_page)])
async def rollback(request: Request, house: TheHouse) -> Response:
    """Serve an earlier index version."""
    house.doorkeeper.require_open()
    form = await _form_of(request)
    if not signed_in(request, house):
        return _to_sign_in(request)
    done = await house.operations.roll_back(form.get("to") or None)
    said = "other-extractor" if done["other_extractor"] else "rolled-back" if done["table"] else "no-table"
    return _redirect(link(request, "operations.versions", said=said))


@router.post("/retry", name="operations.retry", dependencies=[Depends(require_own_page)])
async def retry(request: Request, house: TheHouse) -> Response:
    """Ask again for failed pictures."""
    house.doorkeeper.require_open()
    if not signed_in(request, house):
        return _to_sign_in(request)
    try:
        await house.operations.start_retry()
    except AlreadyRunning:
        return _redirect(link(request, "operations", said="running"))
    return _redirect(link(request, "operations", said="started"))


@router.get("/reports", name="operations.reports", response_class=HTMLResponse)
async def reports(request: Request, house: TheHouse, start: Start = 0) -> Response:
    """Evaluation reports, the newest first."""
    found = await house.operations.reports(start, _COUNT)
    return await _page(request, house, "reports", found=found, start=start, count=_COUNT)


@router.get("/report", name="operations.report", response_class=HTMLResponse)
async def report(house: TheHouse, version: Version, name: Version) -> Response:
    """An evaluation report as it was written; nothing in it can run, load, or reach this site."""
    data = await house.operations.report_page(version, name)
    return Response(
        data, media_type="text/html; charset=utf-8", headers={**_HEADERS, "Content-Security-Policy": _REPORT_POLICY}
    )


@router.get("/sign-in", name="operations.sign_in", response_class=HTMLResponse)
async def ask_token(request: Request, house: TheHouse, to: Version = "") -> Response:
    """The form that asks for the token; `to`: the version that is to be served again after it."""
    return await _page(request, house, "sign_in", to=to, problem=None)


@router.post("/sign-in", dependencies=[Depends(require_own_page)])
async def take_token(request: Request, house: TheHouse) -> Response:
    """Give a session to who knows the token."""
    form = await _form_of(request)
    to = form.get("to", "")
    try:
        house.doorkeeper.check(form.get("token", "").strip().encode(), address_of(request))
    except Problem as problem:
        return await _page(
            request, house, "sign_in", to=to, problem=problem, status=problem.status, headers=problem.headers
        )
    before = link(request, "operations.rollback", to=to) if to else link(request, "operations", said="signed-in")
    answer = _redirect(before)
    sign_in(request, answer, house.doorkeeper.session())
    return answer


@router.post("/sign-out", name="operations.sign_out", dependencies=[Depends(require_own_page)])
async def forget_session(request: Request) -> Response:
    """End the browser's session."""
    answer = _redirect(link(request, "operations", said="signed-out"))
    sign_out(request, answer)
    return answer


async def _page(
    request: Request,
    house: House,
    name: str,
    *,
    tab: str = "",
    status: int = 200,
    headers: dict[str, str] | None = None,
    **values: Any,
) -> HTMLResponse:
    may_change = signed_in(request, house)

    def drawn() -> HTMLResponse:
        return page(
            request,
            f"operations/{name}.html",
            status=status,
            headers=_HEADERS | (headers or {}),
            here="operations",
            tab=tab or name,
            said=_SAID.get(request.query_params.get("said", "")),
            may_change=may_change,
            can_sign_in=house.doorkeeper.open,
            dagster=house.operations.dagster,
            shown=house.operations.shown,
            figures=figures,
            **values,
        )

    return await house.asking.run(drawn)


def _redirect(to: str) -> RedirectResponse:
    return RedirectResponse(to, 303, _HEADERS)


def _to_sign_in(request: Request, to: str = "") -> Response:
    return _redirect(link(request, "operations.sign_in", said="sign-in-first", to=to))


async def _form_of(request: Request) -> dict[str, str]:
    """The fields of a form, the last of each name. Raises Problem as `small_body`, and for one that is no form."""
    data = await small_body(request, "The form", "Open the page again and send its form")
    try:
        fields = parse_qs(data.decode(), keep_blank_values=True, max_num_fields=20)
    except ValueError as error:
        raise Problem(400, "bad-request", "The form cannot be understood", "Open the page again and send it") from error
    return {name: values[-1] for name, values in fields.items()}
