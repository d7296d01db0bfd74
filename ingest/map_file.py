"""Map files: YAML read strictly, so that a mistake is named by its key instead of giving wrong readings."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from domain.errors import DecodeError

MAP_FILE_BYTES_MAX: Final = 1_048_576
REQUIRED: Final = object()


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML's own answer is to keep the last and say nothing."""


def _unique_mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for position, key in enumerate(keys):
        if key in keys[:position]:
            raise yaml.YAMLError(f"the key {key!r} stands twice")
    return loader.construct_mapping(node, deep=True)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def load_map_file(path: Path) -> dict[str, Any]:
    """The content of a YAML file.

    Raises DecodeError when it can't be read, is too large or is no YAML with keys and values.
    """
    try:
        text = path.read_bytes()
        if len(text) > MAP_FILE_BYTES_MAX:
            raise DecodeError(f"{path.name} is larger than a map file may be.", limit=MAP_FILE_BYTES_MAX)
        content = yaml.load(text, _UniqueKeys)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise DecodeError(f"{path.name} can't be read: {error.strerror}.", field="map") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise DecodeError(f"{path.name} is no YAML that can be used: {error}.", field="map") from error
    if not isinstance(content, dict):
        raise DecodeError(f"{path.name} must hold keys and values.", field="map")
    return content


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a map file and the path of keys that leads to it, for messages that name the key."""

    content: Mapping[Any, Any]
    path: str

    def wrong(self, key: Any, problem: str) -> DecodeError:
        """The error for a key of this part, or for the part itself."""
        path = self.path if key is None else f"{self.path}: {key}"
        return DecodeError(f"{path} {problem}.", field="map")

    def only(self, known: set[str]) -> None:
        """Refuse keys that mean nothing here."""
        for key in self.content:
            if key not in known:
                raise self.wrong(key, f"is no key that is known here ({', '.join(sorted(known))})")

    def value(self, key: str, types: tuple[type, ...], default: Any = REQUIRED) -> Any:
        """The value of a key, of one of `types` exactly (true is no number)."""
        value = self.content.get(key, default)
        if value is REQUIRED:
            raise self.wrong(key, "is missing")
        if value is not default and type(value) not in types:
            raise self.wrong(key, f"must be {' or '.join(kind.__name__ for kind in types)}, not {value!r}")
        return value

    def number(self, key: str, default: float) -> float:
        """The finite number of a key."""
        value = self.value(key, (int, float), default)
        if not math.isfinite(value):
            raise self.wrong(key, "must be finite")
        return float(value)

    def optional_number(self, key: str) -> float | None:
        """The finite number of a key, None when the key is absent."""
        return self.number(key, 0.0) if key in self.content else None

    def integer(self, key: str, minimum: int, maximum: int, default: Any = REQUIRED) -> int:
        """The whole number of a key, within bounds."""
        value = self.value(key, (int,), default)
        if not minimum <= value <= maximum:
            raise self.wrong(key, f"must be from {minimum} to {maximum}, not {value}")
        return int(value)

    def values(self, key: str, types: tuple[type, ...]) -> tuple[Any, ...]:
        """The values of a list, or a single value as a list of one; empty when the key is absent."""
        value = self.content.get(key, [])
        values = value if isinstance(value, list) else [value]
        for item in values:
            if type(item) not in types:
                raise self.wrong(
                    key, f"must hold {' or '.join(kind.__name__ for kind in types)}, not {item!r}"
                )
        return tuple(values)

    def integers(self, key: str) -> tuple[int, ...]:
        """The whole numbers of a list; empty when the key is absent."""
        return self.values(key, (int,))

    def section(self, key: str, problem: str = "must hold keys and values") -> "Section":
        """The part under a key."""
        value = self.content.get(key)
        if not isinstance(value, dict) or not value:
            raise self.wrong(key, problem)
        return Section(value, f"{self.path}: {key}")

    def optional_section(self, key: str) -> "Section":
        """The part under a key, empty when the key is absent."""
        return self.section(key) if key in self.content else Section({}, f"{self.path}: {key}")

    def sections(self, key: str, *, required: bool = False) -> Iterator[tuple[Any, "Section"]]:
        """The keys under a key, each with its part."""
        parts = self.section(key) if required else self.optional_section(key)
        for name in parts.content:
            if type(name) not in {str, int}:
                raise parts.wrong(name, "must be a name or a number")
            yield name, parts.section(name)
