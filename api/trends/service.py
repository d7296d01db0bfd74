"""A pack's trend."""

from collections.abc import Sequence
from datetime import datetime

from api.call import Call
from domain.errors import InvalidRequestError
from domain.measures import MEASURE_INDEX
from storage import packs as stored_packs
from storage.trends import Points, points


async def read(
    call: Call,
    pack: str,
    measures: Sequence[str],
    starts: datetime,
    ends: datetime,
) -> Points:
    """Every reading of these measures in starts <= t < ends.

    Raises NotFoundError for the pack, InvalidRequestError for an unknown measure, an empty range or too many
    points.
    """
    for name in measures:
        if name not in MEASURE_INDEX:
            raise InvalidRequestError(f"measures are {', '.join(MEASURE_INDEX)}", field="measure")
    if starts >= ends:
        raise InvalidRequestError("`from` is not before `to`", field="to")
    points_max = call.engine.settings.trend_points_max
    async with call.snapshot() as transaction:
        known = await stored_packs.get_by_name(transaction, pack)
        found = await points(transaction, known["pack_id"], measures, starts, ends, points_max)
    if not found.complete:
        raise InvalidRequestError(
            f"more than {points_max} readings: ask for a shorter range", field="to", limit=points_max
        )
    return found
