"""Texts that are decoded together stay as apart as if each came alone."""

import pytest

from domain.errors import BodyUnreadableError
from ingest.bodies.native import decode_each

GOOD = [b'{"pack": "P-1"}', b'{"pack": "P-2", "ts": 1}']


@pytest.mark.parametrize(
    "bad",
    [b'{"pack": "P-1"', b'"ts": 1}', b"{},{}", b"", b'{"a": 1, "a": 2}', b'{"a": "\xff"}', b"[" * 100_000],
)
def test_one_unreadable_text_spoils_no_other(bad: bytes) -> None:
    first, found, last = decode_each([GOOD[0], bad, GOOD[1]])
    assert [first, last] == [{"pack": "P-1"}, {"pack": "P-2", "ts": 1}]
    assert isinstance(found, BodyUnreadableError)


def test_halves_of_an_object_are_not_joined() -> None:
    found = decode_each([b'{"a": 1', b'"b": 2}', b"{},{}"])
    assert all(isinstance(one, BodyUnreadableError) for one in found)


def test_values_are_told_as_they_are() -> None:
    assert decode_each([*GOOD, b"[1]", b'{"a": {"b": 1}}', b'"text"']) == [
        {"pack": "P-1"},
        {"pack": "P-2", "ts": 1},
        [1],
        {"a": {"b": 1}},
        "text",
    ]
    assert decode_each([]) == []
