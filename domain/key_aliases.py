"""Names that a tenant's devices use for keys of the engine, with the units that they measure in."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from domain.errors import InvalidRequestError
from domain.measures import MEASURE_INDEX, MEASURE_NAMES

NATIVE_KEYS: Final = frozenset({"pack", "ts", *MEASURE_NAMES})
"""The keys of a reading that need no alias."""


@dataclass(frozen=True, slots=True)
class KeyAlias:
    """Another name of a key: the measure's value is what stands under it, times `factor`, plus `offset`."""

    alias: str
    key: str
    factor: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class KeyAliases:
    """A tenant's aliases, by the key that they stand for."""

    of_key: Mapping[str, tuple[KeyAlias, ...]]

    @property
    def names(self) -> frozenset[str]:
        """All other names."""
        return frozenset(alias.alias for aliases in self.of_key.values() for alias in aliases)

    def of(self, key: str) -> tuple[KeyAlias, ...]:
        """The aliases of one key.

        >>> key_aliases([KeyAlias("U", "voltage_v", 0.001)]).of("voltage_v")[0].alias
        'U'
        """
        return self.of_key.get(key, ())


NO_ALIASES: Final = KeyAliases({})


def key_aliases(given: Iterable[KeyAlias]) -> KeyAliases:
    """The aliases as a set. Raises InvalidRequestError naming the alias that can't be one, and why."""
    of_key: dict[str, tuple[KeyAlias, ...]] = {}
    names: set[str] = set()
    for alias in given:
        _check(alias, names)
        names.add(alias.alias)
        of_key[alias.key] = (*of_key.get(alias.key, ()), alias)
    return KeyAliases(of_key)


def usable_aliases(stored: Iterable[KeyAlias]) -> KeyAliases:
    """The aliases that were valid when they were stored, without those that have become a key of the engine."""
    return key_aliases(alias for alias in stored if alias.alias not in NATIVE_KEYS)


def _check(alias: KeyAlias, taken: set[str]) -> None:
    if alias.alias in NATIVE_KEYS:
        raise InvalidRequestError(f"{alias.alias} is a key of the engine itself", field="alias")
    if alias.alias in taken:
        raise InvalidRequestError(f"{alias.alias} stands twice", field="alias")
    if alias.key not in NATIVE_KEYS:
        raise InvalidRequestError(f"keys are {', '.join(sorted(NATIVE_KEYS))}", field="key")
    if not (math.isfinite(alias.factor) and math.isfinite(alias.offset)) or alias.factor == 0:
        raise InvalidRequestError("expected a finite factor, which is not 0, and offset", field="factor")
    if alias.key not in MEASURE_INDEX and (alias.factor, alias.offset) != (1.0, 0.0):
        raise InvalidRequestError(f"{alias.key} has no unit to convert", field="factor")
