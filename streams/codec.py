"""Batches as messages of a topic: one Arrow IPC stream each, its columns as they are in memory.

A message holds a batch, or what one partition's owner gets of it, in order of arrival: rules take a pack's readings so
(rule E17), and the owner sorts what it stores.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

import msgspec
import numpy as np
import pyarrow as pa

from domain.errors import MessageUnreadableError
from domain.measures import MEASURE_NAMES
from domain.quarantine import ItemOrigin, RawForm
from domain.readings import ABSENT, IncomingBatch, Int32Array, PackMarks, ReadingBatch, SentOn, to_values
from domain.receipts import Mode, QuarantinedItem, QuarantineReason
from domain.tenancy import TenantId
from streams.topics import READINGS

_FACTS: Final = b"bpm"
_MARKS: Final = b"bpm-pack-marks"
_SOURCES: Final = b"bpm-source-positions"
_INT64: Final = np.dtype("<i8")
_UNREADABLE: Final = (
    pa.ArrowException, msgspec.MsgspecError, LookupError, ValueError, TypeError, OSError, StopIteration, OverflowError,
    RecursionError,
)  # fmt: skip
"""What is raised for a message that is none; OSError for one that ends too early."""
_KEYS: Final = ("index", "tenant", "tenure", "pack", "ts_ms")


class _Item(msgspec.Struct, array_like=True, frozen=True):
    index: int
    reason: str
    field: str | None
    limit: str | float | None
    raw: str
    pack: str | None


class _Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a message says of its batch besides the columns. `ahead`: how many rows at the end were too far ahead."""

    version: int
    id: UUID
    tenant_id: int
    subject: str
    source: str
    mode: str
    arrived_at_ms: int
    registry_version: int
    received: int
    form: str
    names: list[str]
    import_id: UUID | None = None
    body_hash: bytes | None = None
    items: list[_Item] = []
    ignored_keys: list[str] = []
    part_of: UUID | None = None
    parts: int | None = None
    pack_limit: str | None = None
    own_device: bool = False
    site_limit: list[str] | None = None
    redriven: bool = False
    ahead: int = 0
    came: bool = False
    sent_on: str | None = None


def encode(batch: IncomingBatch) -> bytes:
    """The message of a batch."""
    ahead = batch.ahead
    parts = [batch.readings] if ahead is None else [batch.readings, ahead]
    index = np.concatenate([part.index for part in parts])
    names, name_of = _names(batch, index)
    columns: dict[str, Any] = {
        "index": index,
        "tenant": np.concatenate([part.tenant for part in parts]),
        "tenure": np.concatenate([part.tenure for part in parts]),
        "pack": np.concatenate([part.pack for part in parts]),
        "ts_ms": np.concatenate([part.ts_ms for part in parts]),
        "name": name_of,
    }
    thousandths = np.concatenate([part.thousandths for part in parts], axis=1)
    columns |= dict(zip(MEASURE_NAMES, thousandths, strict=True))
    if batch.came_ms is not None:
        columns["came_ms"] = np.concatenate(
            [batch.came_ms, np.zeros(len(index) - len(batch.came_ms), np.int64)]
        )
    origin = batch.origin
    facts = _Facts(
        version=READINGS.schema_version,
        id=batch.id,
        tenant_id=batch.tenant_id,
        subject=batch.subject,
        source=batch.source,
        mode=str(batch.mode),
        arrived_at_ms=batch.arrived_at_ms,
        registry_version=batch.registry_version,
        received=batch.received,
        form=str(origin.form),
        names=names,
        import_id=batch.import_id,
        body_hash=batch.body_hash,
        items=[
            _Item(item.index, str(item.reason), item.field, item.limit, item.raw, origin.pack_of(item.index))
            for item in batch.quarantined
        ],
        ignored_keys=list(batch.ignored_keys),
        part_of=batch.part_of,
        parts=batch.parts,
        pack_limit=origin.pack_limit,
        own_device=origin.own_device,
        site_limit=None if origin.site_limit is None else list(origin.site_limit),
        redriven=batch.redriven,
        ahead=0 if ahead is None else len(ahead),
        came=batch.came_ms is not None,
        sent_on=None if batch.sent_on is None else batch.sent_on.source,
    )
    rows = pa.RecordBatch.from_arrays([pa.array(column) for column in columns.values()], names=list(columns))
    metadata = {
        _FACTS: msgspec.json.encode(facts),
        _MARKS: batch.marks.among(columns["pack"]).mark.astype(_INT64).tobytes(),
    }
    if batch.sent_on is not None:
        metadata[_SOURCES] = batch.sent_on.at(_items_of(batch)).astype(_INT64).tobytes()
    rows = rows.replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def _names(batch: IncomingBatch, index: Int32Array) -> tuple[list[str], Int32Array]:
    """The external ids in some readings, each once, and which one each reading has."""
    codes: dict[str, int] = {}
    of = [codes.setdefault(batch.origin.pack_of(one) or "", len(codes)) for one in index.tolist()]
    return list(codes), np.array(of, np.int32)


def decode(message: bytes) -> IncomingBatch:
    """The batch of a message. Raises MessageUnreadableError."""
    try:
        with pa.ipc.open_stream(message) as reader:
            metadata = reader.schema.metadata
            facts = _facts_of(metadata)
            rows = reader.read_next_batch()
        columns = dict(zip(rows.schema.names, (column.to_numpy() for column in rows.columns), strict=True))
        batch = _batch(facts, columns, _marks(columns["pack"], metadata[_MARKS]), len(message))
        if facts.sent_on is None:
            return batch
        return replace(batch, sent_on=_sent_on(facts.sent_on, batch, metadata[_SOURCES]))
    except MessageUnreadableError:
        raise
    except _UNREADABLE as error:
        raise MessageUnreadableError(f"this is no message of readings: {type(error).__name__}") from error


def _marks(pack: Int32Array, marks: bytes) -> PackMarks:
    found = PackMarks(np.unique(pack), np.frombuffer(marks, _INT64).astype(np.int64))
    if len(found.pack) != len(found.mark):
        raise MessageUnreadableError("the message has not a mark for each of its packs")
    return found


def _items_of(batch: IncomingBatch) -> Int32Array:
    """The indexes of its readings, and of what was set aside, ascending; what is too far ahead is among these."""
    aside = np.array([item.index for item in batch.quarantined], np.int32)
    return np.unique(np.concatenate([batch.readings.index, aside]))


def _sent_on(source: str, batch: IncomingBatch, positions: bytes) -> SentOn:
    sent_on = SentOn(source, _items_of(batch), np.frombuffer(positions, _INT64).astype(np.int64))
    ahead = np.zeros(0, np.int32) if batch.ahead is None else batch.ahead.index
    if len(sent_on.index) != len(sent_on.position) or not np.isin(ahead, sent_on.index).all():
        raise MessageUnreadableError("the message doesn't say where all of its items came from")
    return sent_on


def _facts_of(metadata: Mapping[bytes, bytes] | None) -> _Facts:
    text = (metadata or {}).get(_FACTS)
    if text is None:
        raise MessageUnreadableError("the message doesn't say whose readings it has")
    version = msgspec.json.decode(text, type=_Version).version
    if version != READINGS.schema_version:
        raise MessageUnreadableError(
            f"version {version} of the messages isn't known", field="version", limit=READINGS.schema_version
        )
    return msgspec.json.decode(text, type=_Facts)


class _Version(msgspec.Struct, frozen=True):
    version: int


def _batch(facts: _Facts, columns: dict[str, Any], marks: PackMarks, size_bytes: int) -> IncomingBatch:
    # Copied, because kernels take no columns that can't be written.
    thousandths = np.stack([columns[name] for name in MEASURE_NAMES])
    index, tenant, tenure, pack, ts_ms = (np.array(columns[name]) for name in _KEYS)
    rows = ReadingBatch(index, tenant, tenure, pack, ts_ms, thousandths)
    if not 0 <= facts.ahead <= len(rows):
        raise MessageUnreadableError("the message has not as many readings too far ahead as it says")
    split = len(rows) - facts.ahead
    readings = rows.rows(slice(0, split))
    items = tuple(
        QuarantinedItem(item.index, QuarantineReason(item.reason), item.field, item.limit, item.raw)
        for item in facts.items
    )
    if len(readings) + len(items) != facts.received or (len(rows) and rows.pack.min() < 0):
        raise MessageUnreadableError("the message has not as many readings as it says")
    name = columns["name"]
    if len(name) and not 0 <= int(name.min()) <= int(name.max()) < len(facts.names):
        raise MessageUnreadableError("the message doesn't have the names of all its packs")
    if len(readings) and (readings.index[0] < 0 or np.any(np.diff(readings.index) < 0)):
        raise MessageUnreadableError("the message doesn't have its readings in their order")
    texts = _Texts(readings, np.array(name[:split]), tuple(facts.names))
    packs = {item.index: item.pack for item in facts.items}
    origin = ItemOrigin(
        RawForm(facts.form),
        facts.pack_limit,
        facts.own_device,
        None if facts.site_limit is None else tuple(facts.site_limit),
        lambda index: packs[index] if index in packs else texts.name_of(index),
        frozenset(packs),
    )
    return IncomingBatch(
        id=facts.id,
        tenant_id=TenantId(facts.tenant_id),
        subject=facts.subject,
        source=facts.source,
        mode=Mode(facts.mode),
        import_id=facts.import_id,
        arrived_at_ms=facts.arrived_at_ms,
        body_hash=facts.body_hash,
        registry_version=facts.registry_version,
        body_bytes=size_bytes,
        received=facts.received,
        readings=readings,
        quarantined=items,
        ignored_keys=tuple(facts.ignored_keys),
        raw_of=texts,
        part_of=facts.part_of,
        parts=facts.parts,
        ahead=rows.rows(slice(split, None)) if facts.ahead else None,
        origin=origin,
        redriven=facts.redriven,
        marks=marks,
        came_ms=np.array(columns["came_ms"][:split]) if facts.came else None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Texts:
    """Readings of a message as the JSON in which they can be sent again: what was sent isn't in the message."""

    readings: ReadingBatch
    name: Int32Array
    names: tuple[str, ...]

    def _row(self, index: int) -> int:
        return int(np.searchsorted(self.readings.index, index))

    def name_of(self, index: int) -> str | None:
        return self.names[self.name[self._row(index)]] or None

    def __call__(self, index: int) -> str:
        row = self._row(index)
        thousandths = self.readings.thousandths[:, row]
        values = {
            name: value
            for name, value, raw in zip(
                MEASURE_NAMES, to_values(thousandths).tolist(), thousandths.tolist(), strict=True
            )
            if raw != ABSENT
        }
        reading = {"pack": self.name_of(index), "ts": int(self.readings.ts_ms[row])} | values
        return msgspec.json.encode(reading).decode()

    def release(self) -> None:
        """Nothing that could be decoded again."""
