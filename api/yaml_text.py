"""YAML in and out, read as plainly as JSON: each text has one meaning, and no small body becomes a large one."""

import re
from typing import Any, Final

import yaml

from domain.errors import BodyTooLargeError, BodyUnreadableError

YAML: Final = "application/yaml"
"""The media type (RFC 9512)."""

DEPTH_MAX: Final = 20
NODES_MAX: Final = 100_000

_Reader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Writer: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_PLAIN: Final = (
    ("tag:yaml.org,2002:bool", r"^(?:true|false)$", "tf"),
    ("tag:yaml.org,2002:null", r"^(?:null|~|)$", ["n", "~", ""]),
    ("tag:yaml.org,2002:int", r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"^[-+]?(?:[.][0-9]+|[0-9]+(?:[.][0-9]*)?)(?:[eE][-+]?[0-9]+)?$",
        "-+.0123456789",
    ),
)
"""What isn't text, as in YAML's core schema: `no`, `12:30` and `2026-01-01` are texts, and `010` is a float."""


class _PlainReader(_Reader):  # type: ignore[misc]
    """Refuses a key that stands twice, of which YAML itself keeps the last."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - filled below, as PyYAML has it

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping. Raises yaml.YAMLError for a key that stands twice, or is no text."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is no text", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, "a key stands twice", key.start_mark)
            seen.add(key.value)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


class _PlainWriter(_Writer):  # type: ignore[misc]
    """Quotes what this reader, or one of YAML 1.1, would not read as text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML has it
        first: list(known) for first, known in _Writer.yaml_implicit_resolvers.items()
    }

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's own parameter
        """Equal values are written out each time."""
        return True


def _resolve(kind: Any) -> None:
    for tag, pattern, first in _PLAIN:
        kind.add_implicit_resolver(tag, re.compile(pattern), list(first))


_resolve(_PlainReader)
_resolve(_PlainWriter)


def read_yaml(body: bytes) -> Any:
    """What a YAML text says: texts, numbers, true and false, null, lists, and mappings from texts.

    Raises BodyUnreadableError for what isn't such a text, and for references and tags, by which little text stands for
    much; BodyTooLargeError for more than NODES_MAX nodes.
    """
    try:
        _check(body)
        return yaml.load(body, _PlainReader)  # noqa: S506 - made from a safe loader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" in line {mark.line + 1}"
        problem = getattr(error, "problem", None) or "it can't be read"
        raise BodyUnreadableError(f"the body is no YAML that can be used{where}: {problem}") from error
    except (ValueError, OverflowError) as error:
        raise BodyUnreadableError("the body holds a number or a text that can't be used") from error


def _check(body: bytes) -> None:
    depth = nodes = 0
    for event in yaml.parse(body, _Reader):
        problem = None
        if isinstance(event, yaml.AliasEvent):
            problem = "references are not taken"
        elif isinstance(event, yaml.NodeEvent):
            nodes += 1
            if getattr(event, "tag", None) is not None or event.anchor is not None:
                problem = "tags and anchors are not taken"
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH_MAX:
            problem = f"deeper than {DEPTH_MAX} levels"
        if problem is not None:
            line = "" if event.start_mark is None else f" in line {event.start_mark.line + 1}"
            raise BodyUnreadableError(f"the body is no YAML that can be used{line}: {problem}")
        if nodes > NODES_MAX:
            raise BodyTooLargeError(f"more than {NODES_MAX} values", limit=NODES_MAX)


def write_yaml(value: Any) -> bytes:
    """YAML that `read_yaml` reads as the same value."""
    text: bytes = yaml.dump(
        value, Dumper=_PlainWriter, sort_keys=False, allow_unicode=True, encoding="utf-8", width=120
    )
    return text
