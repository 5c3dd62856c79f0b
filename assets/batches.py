"""Working the batches of a step one after the other: one process and one load of the models for all of them.

A batch that fails is named and costs no other its result: the step goes on, records what was made, and fails at
its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from assets.checks import evaluations, results
from assets.failures import FOR_ALL_BATCHES, told_to_people
from vetrina.catalog.batches import Batch, find_batch
from vetrina.errors import VetrinaError
from vetrina.quality.verdict import Verdict
from vetrina.store import Store

_NAMED = 10


@dataclass(frozen=True, slots=True)
class Made:
    """What came of one asset for one batch.

    Attributes:
        version: equal versions mean equal content, so that what depends on it need not be made again.
        verdicts: of its checks.
    """

    asset: str
    metadata: dict[str, Any]
    version: str
    verdicts: Sequence[Verdict] = ()


Event = dg.MaterializeResult | dg.AssetMaterialization | dg.AssetCheckEvaluation | dg.Output
"""What a step may yield."""


def each_batch(
    context: dg.AssetExecutionContext, store: Store, work: Callable[[Batch], Sequence[Made]]
) -> Iterator[Event]:
    """Work every batch of this run.

    Raises:
        dg.Failure: an error for people, or batches of several that failed, by name.
    """
    if context.has_partition_key:
        with told_to_people():
            made = work(find_batch(store, context.partition_key))
        for item in made:
            yield dg.MaterializeResult(
                asset_key=item.asset,
                metadata=item.metadata,
                data_version=dg.DataVersion(item.version),
                check_results=results(item.verdicts, item.asset),
            )
        return
    # A range of one as well: Dagster's checks know their batch by the run's partition key only.
    yield from _several(context, store, context.partition_keys, work)


def _several(
    context: dg.AssetExecutionContext, store: Store, keys: Sequence[str], work: Callable[[Batch], Sequence[Made]]
) -> Iterator[Event]:
    done: dict[str, Sequence[Made]] = {}
    failed: dict[str, str] = {}
    for number, key in enumerate(keys, 1):
        try:
            done[key] = work(find_batch(store, key))
            context.log.info(f"Batch {key} is done ({number} of {len(keys)})")
        except FOR_ALL_BATCHES as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error
        except Exception as error:
            expected = isinstance(error, VetrinaError)
            failed[key] = str(error) if expected else f"{type(error).__name__}: {error}"
            context.log.error(f"Batch {key} failed ({number} of {len(keys)}): {failed[key]}", exc_info=not expected)
    if failed:
        # A step that fails yields no results, so those of the good batches are recorded one by one.
        for key, made in done.items():
            for item in made:
                yield dg.AssetMaterialization(item.asset, metadata=item.metadata, partition=key)
                yield from evaluations(item.verdicts, item.asset, key)
        named = "; ".join(f"{key}: {why}" for key, why in list(failed.items())[:_NAMED])
        more = f"; and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        raise dg.Failure(
            description=f"{len(failed)} of {len(keys)} batches failed, the others are done: {named}{more}",
            metadata={"failed": dg.MetadataValue.json(failed)},
            allow_retries=False,
        )
    for key, made in done.items():
        for item in made:
            context.add_asset_metadata(item.metadata, asset_key=item.asset, partition_key=key)
    for asset in dict.fromkeys(item.asset for made in done.values() for item in made):
        yield dg.MaterializeResult(asset_key=asset)
    for spec in context.assets_def.check_specs:
        # The output by which the step shows that the check ran; the evaluations follow, one for each batch.
        yield dg.Output(None, output_name=spec.get_python_identifier())
    for key, made in done.items():
        for item in made:
            yield from evaluations(item.verdicts, item.asset, key)
