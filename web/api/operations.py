"""What goes on in the shop: read by all, changed by whoever shows the token."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from web.house import TheHouse
from web.token import require_token

router = APIRouter(tags=["operations"])

Start = Annotated[int, Query(ge=0, le=1 << 40, description="How many to leave out.")]
Count = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
Reason = Annotated[
    str | None, Query(max_length=300, description="Only those of this reason, as `reasons` names it: `state: reason`.")
]
BatchKey = Annotated[str, Query(alias="id", min_length=1, max_length=300, description="A batch's name.")]


class RollbackOrder(BaseModel):
    """Which index version is to be served again."""

    to: str | None = Field(
        default=None, max_length=100, description="The version; null: the one published before the current one."
    )


@router.get("/coverage")
async def coverage(house: TheHouse) -> dict[str, Any]:
    """Where every catalog row ended: the states add up to the rows."""
    return await house.operations.coverage()


@router.get("/problems")
async def problems(
    house: TheHouse,
    batch: Annotated[str | None, Query(max_length=300, description="Of this batch; else of the shop.")] = None,
    reason: Reason = None,
    start: Start = 0,
    count: Count = 50,
) -> dict[str, Any]:
    """Rows that are not searchable, with line, id, reason and detail."""
    return await house.operations.problems(batch, reason, start, count)


@router.get("/batches")
async def batches(house: TheHouse, start: Start = 0, count: Count = 50) -> dict[str, Any]:
    """Arrivals of catalog changes, the newest first."""
    return await house.operations.batches(start, count)


@router.get("/batch")
async def batch(house: TheHouse, key: BatchKey) -> dict[str, Any]:
    """One batch, with what is judged of it."""
    return await house.operations.batch(key)


@router.get("/versions")
async def versions(house: TheHouse, start: Start = 0, count: Count = 20) -> dict[str, Any]:
    """Published index versions with their recall, the newest first."""
    return await house.operations.versions(start, count)


@router.get("/reports")
async def reports(house: TheHouse, start: Start = 0, count: Count = 20) -> dict[str, Any]:
    """Evaluation reports in the store, the newest first."""
    return await house.operations.reports(start, count)


@router.get("/report")
async def report(
    house: TheHouse,
    version: Annotated[str, Query(max_length=100, description="The index version that was evaluated.")],
    name: Annotated[str, Query(max_length=100, description="The report's name.")],
) -> dict[str, Any]:
    """All figures of one evaluation report."""
    return await house.operations.report(version, name)


@router.get("/retry")
async def retry(house: TheHouse) -> dict[str, Any]:
    """The retry that runs, or what the last one came to since the server started; state `none` without one."""
    return house.operations.retry


@router.post("/retry", status_code=202, dependencies=[Depends(require_token)])
async def start_retry(house: TheHouse) -> dict[str, Any]:
    """Ask again for every picture that failed; it goes on whether or not the caller waits."""
    return await house.operations.start_retry()


@router.post("/rollback", dependencies=[Depends(require_token)])
async def rollback(house: TheHouse, order: RollbackOrder) -> dict[str, Any]:
    """Serve an earlier index version, at once; the next publication makes the newest batches current again."""
    return await house.operations.roll_back(order.to)
