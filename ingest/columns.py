"""Readings as a body gave them: columns, not yet judged against packs, limits and time."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from domain.key_aliases import NATIVE_KEYS, NO_ALIASES, KeyAlias, KeyAliases
from domain.quarantine import cut_raw
from domain.readings import BoolArray, Float64Array, Int32Array, Int64Array, RawItems
from domain.receipts import QuarantineReason


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one reading by itself: its index in the body, the reason, the field."""

    index: int
    reason: QuarantineReason
    field: str | None = None
    limit: str | float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RawReadings:
    """The readable readings of a body, n of `received`; the others stand in `problems`, one each.

    index int32[n], position in the body, ascending. pack_code int32[n], into pack_names.
    ts_ms int64[n], milliseconds since 1970. values float64[measures, n], NaN where absent.
    raw_of: the text of the reading at an index of the body.
    item_pack int32[received], into pack_names, of every item; a name that can't be one is empty.
    """

    received: int
    index: Int32Array
    pack_names: tuple[str, ...]
    pack_code: Int32Array
    ts_ms: Int64Array
    values: Float64Array
    problems: tuple[Problem, ...]
    ignored_keys: tuple[str, ...]
    raw_of: RawItems
    item_pack: Int32Array = field(default_factory=lambda: np.empty(0, np.int32))

    def readable_pack_names(self) -> tuple[str, ...]:
        """The names that readable readings carry; others don't register a pack."""
        named = np.bincount(self.pack_code, minlength=len(self.pack_names)) > 0
        if named.all():
            return self.pack_names
        return tuple(self.pack_names[code] for code in np.flatnonzero(named).tolist())


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Bounds of one body: its readings, the unknown keys named in the answer, the length of a pack's name."""

    readings_max: int
    ignored_keys_max: int
    pack_name_characters_max: int

    def allows_pack_name(self, name: str) -> bool:
        """Whether a text can be a pack's external id: some characters, not too many, none for control."""
        return 0 < len(name) <= self.pack_name_characters_max and not CONTROL_CHARACTERS.search(name)


CONTROL_CHARACTERS: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)
"""No name of anything may hold them: control characters, and those that can't be seen or turn the writing around, so
that two names would look alike. The joiners of scripts that need them are allowed."""

_KEY_CHARACTERS_MAX: Final = 100


def ignored_keys(
    keys: Iterable[str],
    limits: BodyLimits,
    aliases: KeyAliases = NO_ALIASES,
    native: frozenset[str] = NATIVE_KEYS,
) -> tuple[str, ...]:
    """Those of a body's keys that the engine doesn't know, shortened and printable, as many as are named."""
    unknown = sorted(set(keys) - native - aliases.names)[: limits.ignored_keys_max]
    return tuple(
        "".join(c if c.isprintable() else "\ufffd" for c in key[:_KEY_CHARACTERS_MAX]) for key in unknown
    )


def converted(values: Float64Array, alias: KeyAlias) -> Float64Array:
    """Values that came under an alias, in the unit of its key."""
    return values * alias.factor + alias.offset


def merged(name: str, parts: Sequence[Float64Array], problems: dict[int, Problem]) -> Float64Array:
    """One column of those that the key and its aliases gave, NaN where none has a value.

    A reading that has a value in two of them is a problem: which one is meant can't be told.
    """
    values = parts[0]
    for part in parts[1:]:
        given = ~np.isnan(part)
        note_ambiguous(name, given & ~np.isnan(values), problems)
        values = np.where(given, part, values)
    return values


def note_ambiguous(name: str, both: BoolArray, problems: dict[int, Problem]) -> None:
    """Note the readings that carry a key twice, under two of its names."""
    for index in np.flatnonzero(both).tolist():
        problems.setdefault(index, Problem(index, QuarantineReason.AMBIGUOUS_KEY, name))


def kept_rows(count: int, problems: dict[int, Problem]) -> Int64Array:
    """Positions of the readings without a problem, ascending."""
    kept: BoolArray = np.ones(count, np.bool_)
    kept[list(problems)] = False
    return np.flatnonzero(kept)


@dataclass(frozen=True, slots=True, eq=False)
class PacksOfItems:
    """The external id in the item at an index of a body, None where it can't be read."""

    names: tuple[str, ...]
    codes: Int32Array

    def __call__(self, index: int) -> str | None:
        return (self.names[self.codes[index]] or None) if len(self.codes) else None


class CutItems:
    """Raw texts of items, each no longer than quarantine keeps them."""

    def __init__(self, raw_of: RawItems, bytes_max: int) -> None:
        self._raw_of = raw_of
        self._bytes_max = bytes_max

    def __call__(self, index: int) -> str:
        return cut_raw(self._raw_of(index), self._bytes_max)

    def release(self) -> None:
        self._raw_of.release()
