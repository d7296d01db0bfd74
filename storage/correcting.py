"""What the partition's writer does to carry out corrections, in slices, so that live readings never wait for long."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from domain.clock import from_ms, to_ms
from domain.corrections import Correction, CorrectionKind, Reached
from domain.measures import MEASURE_NAMES, MEASURES
from domain.readings import (
    ABSENT,
    Int32Array,
    Int64Array,
    LatestValues,
    NewReadings,
    StoredReadings,
    to_thousandths,
)
from domain.tenancy import TenantId
from storage.database import array_of, int4s, query
from storage.days import class_table
from storage.group import stored_of
from storage.partition_queries import PartitionQueries

_ALWAYS, _FOREVER = "-infinity", "infinity"
_ITEMS_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Replaced:
    """What a slice took out: tenant int32[n], and the readings with the measures meant, ABSENT elsewhere."""

    tenant: Int32Array
    readings: StoredReadings


def next_unfinished(queries: PartitionQueries) -> Correction | None:
    """The oldest correction that isn't done."""
    for row in queries.rows("corrections.next_unfinished"):
        thousandths = row["thousandths"]
        return Correction(
            number=row["correction_no"],
            id=row["id"],
            tenant_id=TenantId(row["tenant_id"]),
            kind=CorrectionKind(row["kind"]),
            pack=row["pack_id"],
            starts_ms=row["starts_ms"],
            ends_ms=row["ends_ms"],
            chosen=tuple(row["chosen"]),
            thousandths=None if thousandths is None else tuple(thousandths),
            batch_id=row["batch_id"],
            import_id=row["import_id"],
        )
    return None


def replace_slice(
    queries: PartitionQueries, correction: Correction, reached: Reached, readings_max: int
) -> tuple[Replaced, Reached | None]:
    """Take the next readings out, about as many as `readings_max`; and what was reached, None at the end."""
    found = (
        _batches_slice(queries, correction, reached, readings_max)
        if correction.kind in (CorrectionKind.DELETE_BATCH, CorrectionKind.DELETE_IMPORT)
        else _range_slice(queries, correction, reached, readings_max)
    )
    if found is None:
        return _nothing_replaced(), None
    which, parameters, after = found
    text = _with_measures(query("corrections.replace").decode(), correction.chosen)
    (class_no,) = queries.classes_of(np.array([correction.tenant_id], np.int32))
    text = text.replace("{readings}", class_table(class_no))
    text = text.replace("{which}", _with_measures(query(which).decode(), correction.chosen))
    given = parameters | {
        "tenant_id": correction.tenant_id,
        "correction_no": correction.number,
        "deleted": correction.kind.deletes,
    }
    # The planner knows nothing yet of the newest batches, and would read whole partitions for them.
    queries.connection.execute("SET LOCAL enable_seqscan = off")
    tenant, *columns = queries.columns_of(text.encode(), given)
    queries.connection.execute("SET LOCAL enable_seqscan = on")
    if tenant is None:
        return _nothing_replaced(), after
    return Replaced(tenant, stored_of(tuple(columns))), after


def _nothing_replaced() -> Replaced:
    return Replaced(np.empty(0, np.int32), StoredReadings.none())


Slice = tuple[str, dict[str, Any], Reached | None]


def _range_slice(
    queries: PartitionQueries, correction: Correction, reached: Reached, readings_max: int
) -> Slice | None:
    assert correction.starts_ms is not None  # noqa: S101 - of this kind
    assert correction.ends_ms is not None  # noqa: S101 - of this kind
    bounds = {
        "tenant_id": correction.tenant_id,
        "pack_id": correction.pack,
        "from": from_ms(correction.starts_ms if reached.ts_ms is None else reached.ts_ms),
        "to": from_ms(correction.ends_ms),
        "limit": readings_max,
    }
    text = _with_measures(query("corrections.end_of_slice").decode(), correction.chosen)
    row = queries.connection.execute(text.encode(), bounds).fetchone()
    if row is None or row["ts"] is None:
        return None
    end: datetime = row["ts"]
    return "corrections.of_range", bounds | {"to": end}, Reached(ts_ms=to_ms(end) + 1)


def _batches_slice(
    queries: PartitionQueries, correction: Correction, reached: Reached, readings_max: int
) -> Slice | None:
    asked = {
        "tenant_id": correction.tenant_id,
        "batch_id": correction.batch_id,
        "import_id": correction.import_id,
        "batch_no": reached.batch_no,
    }
    batches = queries.rows("corrections.next_batches", asked)
    if not batches:
        return None
    taken, size = [batches[0]], batches[0]["received"]
    for batch in batches[1:]:
        size += batch["received"]
        if size > readings_max:
            break
        taken.append(batch)
    ends_at = min(reached.item_no + readings_max, _ITEMS_MAX)
    partly = len(taken) == 1 and ends_at < taken[0]["received"]
    after = Reached(reached.batch_no, ends_at) if partly else Reached(taken[-1]["batch_no"])
    return (
        "corrections.of_batches",
        {
            "batches": [batch["batch_no"] for batch in taken],
            "first_no": taken[0]["batch_no"],
            "last_no": taken[-1]["batch_no"],
            "first_item": reached.item_no,
            "end_item": ends_at if partly else _ITEMS_MAX,
            "from": _bound(min, [batch["first_ts"] for batch in taken], _ALWAYS),
            "to": _bound(max, [batch["last_ts"] for batch in taken], _FOREVER),
        },
        after,
    )


def _bound(choose: Any, moments: Sequence[datetime | None], unknown: str) -> Any:
    """The outermost of times; a batch from before they were noted may have any."""
    known = [moment for moment in moments if moment is not None]
    return choose(known) if len(known) == len(moments) else unknown


def _with_measures(text: str, chosen: Sequence[bool]) -> str:
    """The query with the columns of the measures that are meant, and of the others."""
    meant = [name for name, one in zip(MEASURE_NAMES, chosen, strict=True) if one]
    others = [name for name in MEASURE_NAMES if name not in meant]
    parts = {
        "{any_chosen}": _any_of(meant),
        "{any_other}": _any_of(others),
        "{chosen}": ", ".join(name if name in meant else f"NULL::real AS {name}" for name in MEASURE_NAMES),
        "{others}": ", ".join(name if name in others else f"NULL::real AS {name}" for name in MEASURE_NAMES),
        "{chosen_arrays}": ", ".join(
            array_of(name if name in meant else "NULL::real") for name in MEASURE_NAMES
        ),
    }
    for placeholder, columns in parts.items():
        text = text.replace(placeholder, columns)
    return text


def _any_of(names: Sequence[str]) -> str:
    return " OR ".join(f"{name} IS NOT NULL" for name in names) or "false"


def corrected_reading(correction: Correction) -> NewReadings:
    """The row that a correction puts in place of what it took out; none where it only deletes."""
    if correction.thousandths is None or correction.pack is None or correction.starts_ms is None:
        return NewReadings.none()
    values = [ABSENT if value is None else value for value in correction.thousandths]
    return NewReadings(
        np.full(1, correction.tenant_id, np.int32),
        np.full(1, correction.pack, np.int32),
        np.full(1, correction.starts_ms, np.int64),
        np.zeros(1, np.int32),
        np.zeros(1, np.int32),
        np.array(values, np.int32)[:, None],
    )


def held_then(queries: PartitionQueries, correction: Correction) -> bool:
    """Whether the tenant holds the pack at the time of what it corrects; a hand-over waits until commit.

    When the correction was asked for it did, but with no reading stored then the pack may be another's by now.
    """
    if correction.kind.deletes or correction.starts_ms is None:
        return True
    key = {"tenant_id": correction.tenant_id, "pack_id": correction.pack, "ts": from_ms(correction.starts_ms)}
    queries.rows("partition.tenant_versions", {"tenants": [correction.tenant_id]})
    return bool(queries.rows("corrections.held_then", key))


def latest_of(queries: PartitionQueries, pack: Int32Array) -> LatestValues:
    """The latest value of each measure of some packs, as the store has them now.

    Where that lies in an archived day, whose readings may be gone, it is that of the saved state: nothing in such a day
    is corrected.
    """
    names = MEASURE_NAMES
    column, join = (query(f"corrections.latest_{part}").decode().strip() for part in ("column", "join"))
    text = query("corrections.latest").decode()
    text = text.replace("{latest_columns}", ", ".join(column.replace("{measure}", name) for name in names))
    text = text.replace("{latest_joins}", "\n".join(join.replace("{measure}", name) for name in names))
    found = queries.columns_of(text.encode(), {"pack": int4s(pack)})
    times: Int64Array = np.stack(found[0::2])
    values = to_thousandths(np.stack(found[1::2])).reshape(len(MEASURES), len(pack))
    if (values == ABSENT).any():
        asked = {"pack": int4s(np.unique(pack)), "absent": ABSENT}
        number, saved_ms, saved = queries.columns("corrections.archived_latest", asked)
        if number is not None:
            order = np.argsort(number)
            place = order[np.minimum(np.searchsorted(number, pack, sorter=order), len(number) - 1)]
            archived = (values == ABSENT) & (number[place] == pack) & (saved.T[:, place] != ABSENT)
            times = np.where(archived, saved_ms.T[:, place], times)
            values = np.where(archived, saved.T[:, place], values)
    return LatestValues(pack, times, values)
