"""Other names of keys: which sets of them can be."""

import pytest

from domain.errors import InvalidRequestError
from domain.key_aliases import KeyAlias, key_aliases, usable_aliases


def test_a_key_may_have_several_names() -> None:
    aliases = key_aliases(
        [KeyAlias("U", "voltage_v"), KeyAlias("mV", "voltage_v", 0.001), KeyAlias("id", "pack")]
    )
    assert [alias.alias for alias in aliases.of("voltage_v")] == ["U", "mV"]
    assert aliases.names == {"U", "mV", "id"}
    assert aliases.of("ts") == ()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ([KeyAlias("voltage_v", "current_a")], "alias"),
        ([KeyAlias("pack", "pack")], "alias"),
        ([KeyAlias("U", "voltage_v"), KeyAlias("U", "current_a")], "alias"),
        ([KeyAlias("U", "volts")], "key"),
        ([KeyAlias("U", "voltage_v", 0.0)], "factor"),
        ([KeyAlias("U", "voltage_v", float("nan"))], "factor"),
        ([KeyAlias("U", "voltage_v", 1.0, float("inf"))], "factor"),
        ([KeyAlias("seconds", "ts", 1000.0)], "factor"),
        ([KeyAlias("id", "pack", 1.0, 1.0)], "factor"),
    ],
)
def test_alias_that_collides_or_converts_nothing_is_refused(wrong: list[KeyAlias], field: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        key_aliases(wrong)
    assert refused.value.field == field


def test_stored_alias_that_has_become_a_key_of_the_engine_is_passed_over() -> None:
    aliases = usable_aliases([KeyAlias("current_a", "voltage_v"), KeyAlias("U", "voltage_v")])
    assert aliases.names == {"U"}
