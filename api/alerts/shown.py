"""Alerts as requests and subscribers see them."""

from typing import Any

from domain.alert_rules import read_condition, value_unit

Row = dict[str, Any]

_HIDDEN = frozenset(
    {"tenant_id", "alert_no", "rule_no", "pack_id", "condition", "subject_pack", "subject_source"}
)


def shown(row: Row) -> Row:
    """An alert as requests and subscribers see it, from its row."""
    public = {name: value for name, value in row.items() if name not in _HIDDEN}
    muted = row["silence_id"] is not None
    return public | {"muted": muted, "unit": value_unit(read_condition(row["condition"]))}
