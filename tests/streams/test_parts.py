"""Large bulk batches in parts: what they add up to is what the whole would have been."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.readings import FormerReadings, Found, StoredReadings
from domain.receipts import Mode
from streams.parts import parts_of, whole_result
from streams.pipeline import decide
from tests.streams.test_pipeline import LIMITS, Reading, Store, batch_of


@given(
    readings=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(0, 20),
            st.dictionaries(st.integers(0, 2), st.integers(0, 1), min_size=1, max_size=2),
        ),
        min_size=1,
        max_size=30,
    ),
    size=st.integers(1, 12),
)
@settings(max_examples=100, deadline=None)
def test_e9_parts_store_and_answer_what_the_whole_would(readings: list[Reading], size: int) -> None:
    whole = batch_of(readings, Mode.IMPORT)
    at_once = decide([whole], Found(StoredReadings.none(), FormerReadings.none()), LIMITS).results[0]
    store = Store()
    parts = parts_of(whole, size)
    receipts = [store.commit([part])[0] for part in parts]
    if len(parts) == 1:
        assert parts == [whole]
        return
    together = whole_result(whole, receipts, LIMITS.receipt_items_max)
    assert together.receipt == at_once.receipt
    assert len(together.batch.readings) == 0
    alone = Store()
    alone.commit([whole])
    assert store.identities() == alone.identities()


def test_parts_have_ids_that_a_retry_finds_and_keep_the_place_in_the_body() -> None:
    whole = batch_of([(1, moment, {0: 1}) for moment in range(25)], Mode.IMPORT)
    parts = parts_of(whole, 10)
    assert [part.received for part in parts] == [10, 10, 5]
    assert [part.id for part in parts] == [part.id for part in parts_of(whole, 10)]
    assert len({part.id for part in parts} | {whole.id}) == 4
    assert {part.part_of for part in parts} == {whole.id}
    assert np.concatenate([part.readings.index for part in parts]).tolist() == list(range(25))
