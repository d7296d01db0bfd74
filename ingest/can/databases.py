"""DBC files loaded by cantools, and what a map needs of them, chosen once before the first frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from domain.errors import DecodeError
from domain.measures import MEASURE_INDEX
from ingest.can.bits import FLOAT_TYPES, BitLayout
from ingest.can.mapping import CanMap, MeasureRule, MessageKey, MessageRule, SlowestMessage

if TYPE_CHECKING:
    # Loaded where it is needed: it brings python-can, and that pandas where .mf4 is installed.
    from cantools.database.can import Database, Message, Signal

STANDARD_ID_MAX: Final = 0x7FF
MULTIPLEXER_DEPTH_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class NamedDatabase:
    """A DBC file's messages under the name of the file."""

    name: str
    database: "Database"


@dataclass(frozen=True, slots=True)
class SignalPlan:
    """Where a signal stands, when it is there at all, and its scaling.

    multiplexers: the signal is in a frame when each of these signals has one of the values beside it.
    """

    layout: BitLayout
    multiplexers: tuple[tuple[BitLayout, frozenset[int]], ...] = ()
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class MeasurePlan:
    """A measure (row in MEASURES) as scale · raw + offset of a signal; raw in `not_available` is no value."""

    measure: int
    signal: SignalPlan
    scale: float
    offset: float
    not_available: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MessagePlan:
    """All that a map takes from one message."""

    message: MessageKey
    arbitration_id: int
    extended: bool
    measures: tuple[MeasurePlan, ...]
    drop_frame_when: tuple[tuple[SignalPlan, tuple[int, ...]], ...]


def load_database(path: Path) -> NamedDatabase:
    """The messages of a DBC file (or another description that cantools reads).

    Overlapping signals are allowed: files made by reverse engineering have them. Raises DecodeError when the
    file can't be read.
    """
    import cantools
    from cantools.database.can import Database

    try:
        database = cantools.database.load_file(path, strict=False)
    except OSError as error:
        raise DecodeError(f"{path.name} can't be read: {error.strerror}.", field="dbc") from error
    except Exception as error:  # cantools lets through what its parsers meet in a damaged file
        raise DecodeError(f"{path.name} is no description that can be used: {error}.", field="dbc") from error
    if not isinstance(database, Database):
        raise DecodeError(f"{path.name} describes diagnostics, not messages of a bus.", field="dbc")
    return NamedDatabase(path.name, database)


def plan_messages(can_map: CanMap, databases: Sequence[NamedDatabase]) -> tuple[MessagePlan, ...]:
    """What to take from which frames.

    Raises DecodeError when a message or signal of the map is in none of the files, or when files differ in it
    and the map doesn't say which to use.
    """
    keys = list(dict.fromkeys(rule.message for rule in can_map.measures))
    for rule in can_map.messages:
        if rule.message not in keys:
            raise DecodeError(f"messages: no measure of the map is taken from {rule.message}.", field="map")
    if isinstance(can_map.framing, SlowestMessage) and can_map.framing.message not in keys:
        raise DecodeError(
            f"framing: no measure of the map is taken from {can_map.framing.message}.", field="map"
        )
    plans = tuple(_plan_message(key, can_map, databases) for key in keys)
    identities = [(plan.arbitration_id, plan.extended) for plan in plans]
    if len(set(identities)) < len(identities):
        raise DecodeError(
            "The map names one message in two ways; use its name or its id throughout.", field="map"
        )
    return plans


def _plan_message(key: MessageKey, can_map: CanMap, databases: Sequence[NamedDatabase]) -> MessagePlan:
    rule = can_map.rule_of(key)
    measures = [measure for measure in can_map.measures if measure.message == key]
    described = _described(rule, databases)
    if isinstance(key, int):
        default = described[0][1].is_extended_frame if described else key > STANDARD_ID_MAX
        identity = (key, default if rule.extended is None else rule.extended)
    else:
        if not described:
            raise _undescribed(rule, databases)
        identities = {(message.frame_id, message.is_extended_frame) for _, message in described}
        if len(identities) > 1:
            raise _differing(rule, str(key), described)
        identity = identities.pop()
    return MessagePlan(
        message=key,
        arbitration_id=identity[0],
        extended=identity[1],
        measures=tuple(_plan_measure(measure, rule, described, databases) for measure in measures),
        drop_frame_when=tuple(
            (_find_signal(signal, rule, described, databases), values)
            for signal, values in rule.drop_frame_when
        ),
    )


Described = list[tuple[str, "Message"]]
"""The descriptions of one message: name of the file and message."""


def _described(rule: MessageRule, databases: Sequence[NamedDatabase]) -> Described:
    if rule.dbc is not None and rule.dbc not in {named.name for named in databases}:
        given = ", ".join(named.name for named in databases) or "none"
        raise DecodeError(
            f"The map reads {rule.message} by {rule.dbc}, which is not among the DBC files given ({given}).",
            field="dbc",
        )
    return [
        (named.name, message)
        for named in databases
        if rule.dbc in {None, named.name}
        for message in named.database.messages
        if rule.message in {message.name, message.frame_id}
        and rule.extended in {None, message.is_extended_frame}
    ]


def _plan_measure(
    rule: MeasureRule, message: MessageRule, described: Described, databases: Sequence[NamedDatabase]
) -> MeasurePlan:
    if isinstance(rule.signal, BitLayout):
        signal = SignalPlan(rule.signal)
    else:
        signal = _find_signal(rule.signal, message, described, databases)
    factor = signal.scale if rule.factor is None else rule.factor
    offset = signal.offset if rule.offset is None else rule.offset
    return MeasurePlan(
        measure=MEASURE_INDEX[rule.measure],
        signal=signal,
        scale=rule.sign * factor,
        offset=rule.sign * offset + 0.0,  # a sum with 0.0 is never -0.0
        not_available=rule.not_available,
    )


def _find_signal(
    name: str, rule: MessageRule, described: Described, databases: Sequence[NamedDatabase]
) -> SignalPlan:
    if not described:
        raise _undescribed(rule, databases)
    plans = {
        _plan_signal(message, signal)
        for _, message in described
        for signal in message.signals
        if signal.name == name
    }
    if not plans:
        files = ", ".join(file for file, _ in described)
        raise DecodeError(f"{rule.message} has no signal {name} in {files}.", field="map")
    if len(plans) > 1:
        raise _differing(rule, f"{rule.message}.{name}", described)
    return plans.pop()


def _plan_signal(message: "Message", signal: "Signal") -> SignalPlan:
    multiplexers = []
    inner = signal
    while inner.multiplexer_ids is not None and inner.multiplexer_signal is not None:
        outer = message.get_signal_by_name(inner.multiplexer_signal)
        multiplexers.append((_layout(outer), frozenset(inner.multiplexer_ids)))
        inner = outer
        if len(multiplexers) > MULTIPLEXER_DEPTH_MAX:
            raise DecodeError(f"{message.name}.{signal.name} is multiplexed by itself.", field="dbc")
    return SignalPlan(
        layout=_layout(signal),
        multiplexers=tuple(multiplexers),
        scale=float(signal.conversion.scale),
        offset=float(signal.conversion.offset),
    )


def _layout(signal: "Signal") -> BitLayout:
    if signal.conversion.is_float and signal.length not in FLOAT_TYPES:
        raise DecodeError(
            f"{signal.name} is a float of {signal.length} bits, which there isn't.", field="dbc"
        )
    return BitLayout(
        start=signal.start,
        length=signal.length,
        big_endian=signal.byte_order == "big_endian",
        signed=signal.is_signed,
        floating=signal.conversion.is_float,
    )


def _undescribed(rule: MessageRule, databases: Sequence[NamedDatabase]) -> DecodeError:
    given = ", ".join(named.name for named in databases) or "none"
    return DecodeError(f"No DBC file given describes the message {rule.message} ({given}).", field="dbc")


def _differing(rule: MessageRule, what: str, described: Described) -> DecodeError:
    files = ", ".join(file for file, _ in described)
    return DecodeError(
        f"{what} is described differently by {files}; say in the map which to use: "
        f"messages: {rule.message}: dbc: FILE.",
        field="map",
    )
