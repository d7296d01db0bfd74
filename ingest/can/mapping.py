"""The map of a recording: which signals give which measures, and how frames become readings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from domain.measures import MEASURE_NAMES
from ingest.can.bits import SIGNAL_BITS_MAX, BitLayout
from ingest.can.frames import FRAME_BYTES_MAX
from ingest.map_file import Section, load_map_file

MessageKey = str | int
"""A message by its name in a DBC file, or by its arbitration id."""

EVERY_MS_MAX: Final = 86_400_000
STANDARD_ID_MAX: Final = 0x7FF


@dataclass(frozen=True, slots=True)
class EachFrame:
    """Each frame of a mapped message gives a reading with the measures that it carries."""


@dataclass(frozen=True, slots=True)
class SlowestMessage:
    """Each frame of `message` gives a reading with the latest value of every measure."""

    message: MessageKey


@dataclass(frozen=True, slots=True)
class EveryMilliseconds:
    """One reading at each full `interval_ms` after frames came, with the latest value of every measure."""

    interval_ms: int


Framing = EachFrame | SlowestMessage | EveryMilliseconds


@dataclass(frozen=True, slots=True)
class MessageRule:
    """What the map says of a message: the DBC file to read it by, and when its frames say nothing.

    drop_frame_when: raw values by signal; a frame with one of them is left out as a whole.
    """

    message: MessageKey
    extended: bool | None = None
    dbc: str | None = None
    drop_frame_when: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class MeasureRule:
    """Which signal gives a measure: value = sign · (raw · factor + offset).

    signal: its name in the DBC file, or its place where no DBC file decodes it. factor and offset: None as in
    the DBC file. not_available: raw values that mean no value.
    """

    measure: str
    message: MessageKey
    signal: str | BitLayout
    factor: float | None = None
    offset: float | None = None
    sign: int = 1
    not_available: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CanMap:
    """A whole map file. channels: the buses to read, empty for all."""

    measures: tuple[MeasureRule, ...]
    messages: tuple[MessageRule, ...] = ()
    channels: frozenset[str] = frozenset()
    framing: Framing = EachFrame()

    def rule_of(self, message: MessageKey) -> MessageRule:
        """What the map says of `message`, the defaults when it says nothing."""
        return next((rule for rule in self.messages if rule.message == message), MessageRule(message))


def load_can_map(path: Path) -> CanMap:
    """The map in a YAML file.

    Raises DecodeError naming the file and the key that is wrong.
    """
    return parse_can_map(load_map_file(path), path.name)


def parse_can_map(content: Mapping[str, Any], name: str) -> CanMap:
    """The map in the content of a YAML file called `name`.

    Raises DecodeError naming the key that is wrong.
    """
    section = Section(content, name)
    section.only({"measures", "messages", "channels", "framing"})
    channels = section.values("channels", (str, int))
    return CanMap(
        measures=tuple(_measure(key, part) for key, part in section.sections("measures", required=True)),
        messages=tuple(_message(key, part) for key, part in section.sections("messages")),
        channels=frozenset(str(channel) for channel in channels),
        framing=_framing(section),
    )


def _framing(section: Section) -> Framing:
    if section.content.get("framing", "each") == "each":
        return EachFrame()
    part = section.section("framing", "must be `each`, `slowest: MESSAGE` or `every_ms: NUMBER`")
    part.only({"slowest", "every_ms"})
    if len(part.content) != 1:
        raise part.wrong(None, "takes one of slowest and every_ms")
    if "slowest" in part.content:
        return SlowestMessage(part.value("slowest", (str, int)))
    return EveryMilliseconds(part.integer("every_ms", 1, EVERY_MS_MAX))


def _message(key: MessageKey, section: Section) -> MessageRule:
    section.only({"extended", "dbc", "drop_frame_when"})
    dropping = section.optional_section("drop_frame_when")
    return MessageRule(
        message=key,
        extended=section.value("extended", (bool,), None),
        dbc=section.value("dbc", (str,), None),
        drop_frame_when=tuple((str(signal), dropping.integers(signal)) for signal in dropping.content),
    )


def _measure(key: MessageKey, section: Section) -> MeasureRule:
    section.only({"message", "signal", "bits", "factor", "offset", "sign", "not_available"})
    if key not in MEASURE_NAMES:
        raise section.wrong(None, f"is no measure; the measures are {', '.join(MEASURE_NAMES)}")
    if ("signal" in section.content) == ("bits" in section.content):
        raise section.wrong(None, "takes one of signal (by its name in the DBC file) and bits (by its place)")
    sign = section.integer("sign", -1, 1, 1)
    if sign == 0:
        raise section.wrong("sign", "must be 1 or -1")
    return MeasureRule(
        measure=str(key),
        message=section.value("message", (str, int)),
        signal=_bits(section.section("bits"))
        if "bits" in section.content
        else section.value("signal", (str,)),
        factor=section.optional_number("factor"),
        offset=section.optional_number("offset"),
        sign=sign,
        not_available=section.integers("not_available"),
    )


def _bits(section: Section) -> BitLayout:
    section.only({"start", "length", "byte_order", "signed"})
    order = section.value("byte_order", (str,))
    if order not in {"big", "little"}:
        raise section.wrong("byte_order", "must be big or little")
    layout = BitLayout(
        start=section.integer("start", 0, 8 * FRAME_BYTES_MAX - 1),
        length=section.integer("length", 1, SIGNAL_BITS_MAX),
        big_endian=order == "big",
        signed=section.value("signed", (bool,), False),
    )
    if layout.bytes_needed > FRAME_BYTES_MAX:
        raise section.wrong("length", f"reaches beyond the {FRAME_BYTES_MAX} bytes of the longest frame")
    return layout
