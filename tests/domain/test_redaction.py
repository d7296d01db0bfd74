"""Nothing sensitive is written down, wherever in a record it stands; all else is as it was."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.redaction import REDACTED, SENSITIVE_FIELDS, SENSITIVE_WORDS, is_sensitive, redacted

MARKER = "in-the-clear"
FIELDS = [
    "name", "site", "key", "alias", "item_hash", "secretary", "version", "limits", "url", "has_key",
    *SENSITIVE_FIELDS, *SENSITIVE_WORDS, "former_secret", "password_hash", "Invitation-Secret", "TOKEN_ID",
]  # fmt: skip

leaves = st.sampled_from(["plain", 7, 1.5, True, None, datetime(2026, 1, 1, tzinfo=UTC)])
secrets = st.sampled_from([MARKER, [MARKER], {"deep": MARKER}, MARKER.encode()])


def records(children: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    def values(fields: list[str]) -> st.SearchStrategy[dict[str, Any]]:
        return st.fixed_dictionaries(
            {field: secrets | leaves if is_sensitive(field) else children for field in fields}
        )

    return st.lists(st.sampled_from(FIELDS), unique=True, max_size=6).flatmap(values)


nested = records(
    st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | records(inner), max_leaves=12)
)


def as_it_should_be(value: Any, *, hidden: bool) -> Any:
    """What a careful clerk would copy: written apart from the code, over the same table of fields."""
    if value is None or isinstance(value, bool | datetime):
        return value
    if hidden:
        return REDACTED
    if isinstance(value, dict):
        return {field: as_it_should_be(one, hidden=is_sensitive(field)) for field, one in value.items()}
    return [as_it_should_be(one, hidden=False) for one in value] if isinstance(value, list) else value


@given(nested)
def test_no_sensitive_value_is_left_and_all_others_are(record: dict[str, Any]) -> None:
    shown = redacted(record)
    assert MARKER not in str(shown)
    assert shown == as_it_should_be(record, hidden=False)


@pytest.mark.parametrize(
    "field", ["secret", "api_key", "password_hash", "Invitation-Secret", "channel_secrets"]
)
def test_field_is_sensitive_by_name_or_by_a_word(field: str) -> None:
    assert is_sensitive(field)


@pytest.mark.parametrize("field", ["key", "keys", "secretary", "item_hash", "body_hash", "alias", "name"])
def test_field_that_only_sounds_so_is_shown(field: str) -> None:
    assert not is_sensitive(field)


def test_bytes_are_shown_in_no_field() -> None:
    assert redacted({"item_hash": b"\x00", "of": [memoryview(b"x")]}) == {
        "item_hash": REDACTED,
        "of": [REDACTED],
    }
