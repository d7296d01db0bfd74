"""What a dead letter holds: the message as it was, with why and where from, whatever its own headers are called."""

from hypothesis import given
from hypothesis import strategies as st

from streams.dead_letters import Letter, Message, letter_of, written
from streams.topics import ALERTS, DEAD_LETTERS, READINGS, SINGLES, Header

BYTES_MAX = DEAD_LETTERS.message_bytes_max
NAMES = st.sampled_from([*(header.value for header in Header), "traceparent", ""])
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=9)), max_size=9).map(tuple)


def message(
    key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes | None], ...] = ()
) -> Message:
    return Message("bpm.readings.single.v1", 3, 17, key, value, headers, 1_700_000_000_000)


def read(one: Message, bytes_max: int = BYTES_MAX) -> Letter:
    """The letter of a message, as it is found in the topic."""
    sent = written(one, "message_misdirected", bytes_max)
    found = letter_of(Message(DEAD_LETTERS.name, 0, 5, sent.key, sent.value, sent.headers, 9))
    assert found is not None
    return found


@given(st.none() | st.binary(max_size=9), st.none() | st.binary(max_size=9), HEADERS)
def test_letter_has_the_message_as_it_was_whatever_its_headers_are_called(
    key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes | None], ...]
) -> None:
    one = message(key, value, headers)
    found = read(one)
    assert found == Letter(0, 5, 9, "message_misdirected", one, kept=True, cut=None)
    sent = dict(written(one, "message_misdirected", BYTES_MAX).headers)
    assert (sent[Header.VERSION], sent[Header.SOURCE]) == (b"2", one.source.encode()), (
        "the last of a name is ours"
    )


def test_largest_message_of_every_topic_is_whole_in_its_letter() -> None:
    for topic in (READINGS, SINGLES, ALERTS):
        # Headers count too: many small ones have the most overhead.
        headers = tuple(("h", b"") for _ in range(topic.message_bytes_max // 100))
        one = message(b"P-1", b"x" * topic.message_bytes_max, headers)
        assert read(one).cut is None


def test_what_is_too_large_is_cut_and_says_so() -> None:
    large = read(message(b"P-1", b"x" * 50_000, (("a", b"1"),)), bytes_max=10_000)
    assert (large.original.key, large.original.headers) == (b"P-1", (("a", b"1"),))
    assert large.original.value is not None
    kept = len(large.original.value)
    assert 9_000 < kept < 10_000
    assert large.cut == f"{kept} of 50000 bytes of the value kept"
    beside = read(message(b"k" * 9_000, b"x" * 50, (("a", b"1" * 9_000), ("b", None))), bytes_max=10_000)
    assert (beside.original.key, beside.original.value, beside.original.headers) == (None, b"x" * 50, ())
    assert beside.cut == "the key and 2 headers left out"


def test_letters_of_the_first_version_are_read_and_foreign_messages_are_none() -> None:
    first = ((Header.VERSION.value, b"1"), (Header.SOURCE.value, b"a:b:3:17"), (Header.REASON.value, b"why"))
    found = letter_of(Message(DEAD_LETTERS.name, 0, 5, None, b"x", first, 9))
    assert found is not None
    assert (found.kept, found.reason, found.original.source) == (False, "why", "a:b:3:17")
    for headers in ((), first[:2], (*first[:1], (Header.SOURCE.value, b"a:b"), *first[2:])):
        assert letter_of(Message(DEAD_LETTERS.name, 0, 5, None, b"x", headers, 9)) is None
