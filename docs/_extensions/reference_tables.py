"""Tables of the reference pages, made from the code when the pages are built, so that both agree."""

import importlib
from collections.abc import Iterable
from typing import Any, ClassVar

from docutils import nodes
from pydantic_settings import BaseSettings
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from api.errors import STATUS
from domain.measures import MEASURES
from domain.policy import BEYOND_GRANTS, BEYOND_SITES, PLATFORM_GRANTS, ROLES, Action, PlatformAction
from domain.receipts import QuarantineReason
from streams.topics import HEADER_MEANS, TOPICS, Header

Rows = Iterable[tuple[str, ...]]


def markdown_table(head: tuple[str, ...], rows: Rows) -> str:
    """A table in Markdown; a bar inside a cell doesn't end it."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


class TableDirective(SphinxDirective):
    """A directive that stands for one table."""

    head: ClassVar[tuple[str, ...]]

    def rows(self) -> Rows:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(markdown_table(self.head, self.rows()))


class MeasuresTable(TableDirective):
    """The measures with their units and plausible ranges."""

    head = ("Measure", "Unit", "Least", "Most", "What it is")

    def rows(self) -> Rows:
        return [
            (f"`{one.name}`", one.unit, f"{one.minimum:g}", f"{one.maximum:g}", one.description)
            for one in MEASURES
        ]


class RolesTable(TableDirective):
    """The built-in roles, and what each is for."""

    head = ("Role", "What it is for", "May")

    def rows(self) -> Rows:
        return [
            (
                f"`{role}`",
                meaning.purpose,
                ", ".join(f"`{action}`" for action in sorted(meaning.grants)),
            )
            for role, meaning in ROLES.items()
        ]


class ActionsTable(TableDirective):
    """The actions, which roles grant each, and whether a credential with limits, or for a time, keeps it."""

    head = ("Action", "Granted by", "With a limit to sites", "By an access grant")

    def rows(self) -> Rows:
        return [
            (
                f"`{action}`",
                ", ".join(f"`{role}`" for role, meaning in ROLES.items() if action in meaning.grants),
                "refused" if action in BEYOND_SITES else "held to them",
                "refused" if action in BEYOND_GRANTS else "as the roles say",
            )
            for action in sorted(Action)
        ]


class PlatformActionsTable(TableDirective):
    """The actions of operators of the installation."""

    head = ("Action", "Granted by")

    def rows(self) -> Rows:
        return [
            (
                f"`{action}`",
                ", ".join(f"`{role}`" for role, granted in PLATFORM_GRANTS.items() if action in granted),
            )
            for action in PlatformAction
        ]


class TopicsTable(TableDirective):
    """The topics of a Kafka cluster."""

    head = ("Topic", "A message is", "Key", "Partitions", "Kept", "Largest", "Headers")

    def rows(self) -> Rows:
        return [
            (
                f"`{topic.name}`",
                topic.holds,
                topic.key,
                "`BPM_KAFKA_PARTITIONS`" if topic.partitions is None else str(topic.partitions),
                f"{topic.retention_hours // 24} days",
                f"{topic.message_bytes_max >> 10} KiB",
                ", ".join(f"`{header}`" for header in topic.headers),
            )
            for topic in TOPICS
        ]


class HeadersTable(TableDirective):
    """The headers of messages."""

    head = ("Header", "Says")

    def rows(self) -> Rows:
        return [(f"`{header}`", HEADER_MEANS[header]) for header in Header]


class TopicSettingsTable(TableDirective):
    """What Kafka is told of every topic alike."""

    head = ("Setting of Kafka", "With three copies", "With one")

    def rows(self) -> Rows:
        three, one = ([topic.configuration(copies) for topic in TOPICS] for copies in (3, 1))
        return [
            (f"`{name}`", value, one[0][name])
            for name, value in three[0].items()
            if len({configured[name] for configured in three}) == 1
        ]


class ErrorsTable(TableDirective):
    """The errors that a request can meet: status, code and title."""

    head = ("Status", "Code", "Title")

    def rows(self) -> Rows:
        return sorted((str(status), f"`{kind.code}`", kind("").title) for kind, status in STATUS.items())


class ReasonsTable(TableDirective):
    """The reasons of quarantine; the directive's lines, `reason: meaning`, must name each exactly once."""

    head = ("Reason", "What was wrong, and what to do")
    has_content = True

    def rows(self) -> Rows:
        named = [
            (reason, meaning.strip()) for reason, _, meaning in (line.partition(":") for line in self.content)
        ]
        if sorted(reason for reason, _ in named) != sorted(QuarantineReason):
            raise self.error(f"expected each of these reasons once: {', '.join(sorted(QuarantineReason))}")
        return [(f"`{reason}`", meaning) for reason, meaning in named]


class SettingsTable(TableDirective):
    """The settings of the class that the argument names as `module:Class`."""

    head = ("Variable", "Default", "What it sets")
    required_arguments = 1

    def rows(self) -> Rows:
        module, _, name = self.arguments[0].partition(":")
        settings: type[BaseSettings] = getattr(importlib.import_module(module), name)
        prefix = settings.model_config.get("env_prefix", "")
        return [
            (f"`{(prefix + field).upper()}`", default_text(info), info.description or "")
            for field, info in settings.model_fields.items()
        ]


class LimitsTable(SettingsTable):
    """The limits among the settings: what ends by `_max`."""

    head = ("Variable", "Default", "What it limits, and what comes beyond")

    def rows(self) -> Rows:
        return [row for row in super().rows() if row[0].endswith("_MAX`")]


def default_text(info: Any) -> str:
    """The default as one would write it in the environment."""
    if info.is_required():
        return "must be set"
    return "not set" if info.default is None else f"`{info.default}`"


def setup(app: Sphinx) -> dict[str, bool]:
    for name, directive in {
        "measures-table": MeasuresTable,
        "roles-table": RolesTable,
        "actions-table": ActionsTable,
        "platform-actions-table": PlatformActionsTable,
        "topics-table": TopicsTable,
        "headers-table": HeadersTable,
        "topic-settings-table": TopicSettingsTable,
        "errors-table": ErrorsTable,
        "reasons-table": ReasonsTable,
        "settings-table": SettingsTable,
        "limits-table": LimitsTable,
    }.items():
        app.add_directive(name, directive)
    return {"parallel_read_safe": True}
