"""What goes on in the shop: read by all, changed by whoever shows the token."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError

from web.api import operation_models as models
from web.api.document import answering, problems
from web.api.operation_examples import REPORT_EXAMPLE
from web.bodies import small_body
from web.house import House, TheHouse
from web.operations.token import require_token
from web.sending import as_bytes

router = APIRouter(tags=["operations"])

Start = Annotated[int, Query(ge=0, le=1 << 40, description="How many to pass over.")]
Count = Annotated[int, Query(ge=1, le=1000, description="How many to list.")]
FewCount = Annotated[int, Query(ge=1, le=100, description="How many to list.")]
_REFUSALS = (400, 401, 403, 409, 429, 503)


class RollbackOrder(BaseModel):
    """Which index version is to be served again."""

    to: str | None = Field(
        default=None, max_length=100, description="The version; null: the one published before the current one."
    )


@router.get("/coverage", responses=answering(models.Coverage, (503,)))
async def coverage(house: TheHouse) -> Response:
    """Where every catalog row ended."""
    return await _answer(house, await house.operations.coverage())


@router.get("/problems", responses=answering(models.RowProblems))
async def row_problems(
    house: TheHouse,
    batch: Annotated[str | None, Query(max_length=300, description="Of this batch; else of the shop.")] = None,
    reason: Annotated[
        str | None, Query(max_length=300, description="Only those of this reason, as `reasons` names it.")
    ] = None,
    start: Start = 0,
    count: Count = 50,
) -> Response:
    """Rows with problems: line, id, reason and detail."""
    return await _answer(house, await house.operations.problems(batch or None, reason or None, start, count))


@router.get("/batches", responses=answering(models.BatchList, (400, 503)))
async def batches(house: TheHouse, start: Start = 0, count: Count = 50) -> Response:
    """Arrivals of catalog changes, the newest first."""
    return await _answer(house, await house.operations.batches(start, count))


@router.get("/batch", responses=answering(models.BatchInFull))
async def batch(
    house: TheHouse, key: Annotated[str, Query(alias="id", min_length=1, max_length=300, description="Its name.")]
) -> Response:
    """One batch, with what is judged of it."""
    return await _answer(house, await house.operations.batch(key))


@router.get("/versions", responses=answering(models.VersionList, (400, 503)))
async def versions(house: TheHouse, start: Start = 0, count: FewCount = 20) -> Response:
    """Published index versions with their recall, the newest first."""
    return await _answer(house, await house.operations.versions(start, count))


@router.get("/reports", responses=answering(models.ReportList, (400, 503)))
async def reports(house: TheHouse, start: Start = 0, count: FewCount = 20) -> Response:
    """Evaluation reports in the store, the newest first."""
    return await _answer(house, await house.operations.reports(start, count))


@router.get(
    "/report",
    responses={200: {"content": {"application/json": {"example": REPORT_EXAMPLE}}}, **problems(400, 404, 503)},
)
async def report(
    house: TheHouse,
    version: Annotated[str, Query(max_length=100, description="The index version that was evaluated.")],
    name: Annotated[str, Query(max_length=100, description="The report's name.")],
) -> Response:
    """All figures of one evaluation report, as `vetrina evaluate --json` has them."""
    return await _answer(house, await house.operations.report(version, name))


@router.get("/retry", responses=answering(models.Retry, (503,)))
async def retry(house: TheHouse) -> Response:
    """The retry that runs, or what the last one since the server started came to."""
    return await _answer(house, house.operations.retry)


@router.post(
    "/retry",
    status_code=202,
    dependencies=[Depends(require_token)],
    responses={202: {"model": models.Retry}, **problems(*_REFUSALS)},
)
async def start_retry(house: TheHouse) -> Response:
    """Ask again for every picture that failed; it goes on whether or not the caller waits."""
    return _sent(as_bytes(await house.operations.start_retry()), 202)


async def _order(request: Request) -> RollbackOrder:
    """The order in a request's body. Not by FastAPI, which reads any body whole, and before it asks for the token."""
    data = await small_body(request, "The order", 'Send {"to": VERSION}, or {}')
    try:
        return RollbackOrder.model_validate_json(data)
    except ValidationError as error:
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]) from error


@router.post(
    "/rollback",
    dependencies=[Depends(require_token)],
    responses=answering(models.Rollback, (*_REFUSALS, 404, 408, 413)),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": RollbackOrder.model_json_schema(), "example": {"to": None}}},
        }
    },
)
async def rollback(house: TheHouse, order: Annotated[RollbackOrder, Depends(_order)]) -> Response:
    """Serve an earlier index version at once; the next publication makes the newest batches current again."""
    return _sent(as_bytes(await house.operations.roll_back(order.to)))


async def _answer(house: House, value: dict[str, Any]) -> Response:
    """What was read, which may be much. What was done is little, and must not be told to come back."""
    return _sent(await house.asking.run(as_bytes, value))


def _sent(data: bytes, status: int = 200) -> Response:
    return Response(data, status, {"Cache-Control": "no-store"}, "application/json")
