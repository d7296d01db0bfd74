"""What an API key looks like, and that a wrong one is known without asking anybody."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from domain import api_keys

letters = st.text(alphabet=api_keys.ALPHABET, min_size=43, max_size=43)
KEY_ID = "0Fq3ZkT9vBxA"


@given(secret=letters)
def test_a_key_is_read_as_it_was_made(secret: str) -> None:
    text = api_keys.compose(KEY_ID, secret)
    assert api_keys.read(text) == api_keys.ApiKey(KEY_ID, hashlib.sha256(text.encode()).digest())


@given(secret=letters, place=st.integers(0, 65), other=st.sampled_from(api_keys.ALPHABET))
def test_one_wrong_character_is_noticed(secret: str, place: int, other: str) -> None:
    text = api_keys.compose(KEY_ID, secret)
    changed = text[:place] + other + text[place + 1 :]
    assert (api_keys.read(changed) is None) is (changed != text)


@given(text=st.text())
def test_any_other_text_is_none(text: str) -> None:
    assert api_keys.read(text) is None
    assert api_keys.read(f"bpm_{text}") is None


def test_cut_lengthened_or_with_a_line_behind_is_none() -> None:
    text = api_keys.compose(KEY_ID, "a" * 43)
    assert not any(map(api_keys.read, (text[:-1], text + "a", text + "\n", " " + text, text.upper())))
