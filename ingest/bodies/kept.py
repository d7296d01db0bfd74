"""Readings from the raw texts that quarantine kept of them."""

from collections.abc import Sequence
from typing import Any

import msgspec

from domain.key_aliases import KeyAliases
from domain.quarantine import RawForm
from ingest.bodies.csv_text import read_csv
from ingest.bodies.native import read_items
from ingest.bodies.thingsboard import read_kept as read_kept_thingsboard
from ingest.columns import BodyLimits, RawReadings


class _Texts:
    """The texts as they are."""

    def __init__(self, raws: Sequence[str]) -> None:
        self._raws = raws

    def __call__(self, index: int) -> str:
        return self._raws[index]

    def release(self) -> None:
        """Nothing to do."""


def read_kept(form: RawForm, raws: Sequence[str], limits: BodyLimits, aliases: KeyAliases) -> RawReadings:
    """The readings of raw texts of one form, in their order; those of CSV have one header in common.

    Raises BodyUnreadableError, BodyTooLargeError.
    """
    if form is RawForm.CSV:
        header = header_of(raws[0])
        rows = "\n".join(raw[len(header) + 1 :] for raw in raws)
        return read_csv(f"{header}\n{rows}".encode(), limits, aliases)
    items = [_decoded(raw) for raw in raws]
    if form is RawForm.THINGSBOARD:
        kept = [item if isinstance(item, dict) else {} for item in items]
        return read_kept_thingsboard(kept, limits, aliases)
    return read_items(items, limits, _Texts(raws), aliases)


def header_of(raw: str) -> str:
    r"""The header of a row of CSV, up to its row.

    >>> header_of("pack,ts\nP-1,1")
    'pack,ts'
    """
    end = raw.find("\n")
    while end >= 0 and raw.count('"', 0, end) % 2:
        end = raw.find("\n", end + 1)
    return raw if end < 0 else raw[:end]


def _decoded(raw: str) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
