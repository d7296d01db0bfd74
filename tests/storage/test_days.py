"""Which partition a day belongs to: no gap, no overlap, few."""

from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from storage.days import partition_of

first_days = st.dates(date(2020, 1, 1), date(2040, 12, 31))


@given(first_day=first_days, day=st.dates(date(1990, 1, 1), date(2041, 12, 31)))
def test_e21_every_day_lies_in_its_partition_and_neighbours_touch(first_day: date, day: date) -> None:
    found = partition_of(day, first_day)
    assert found.starts <= day < found.ends
    assert partition_of(found.starts, first_day) == found
    assert partition_of(found.ends - timedelta(days=1), first_day) == found
    assert partition_of(found.ends, first_day).starts == found.ends
    assert partition_of(found.starts - timedelta(days=1), first_day).ends == found.starts


@settings(max_examples=10)
@given(first_day=first_days)
def test_e21_twenty_years_before_the_first_day_are_few_partitions(first_day: date) -> None:
    days = (first_day - timedelta(days=back) for back in range(20 * 366))
    names = {partition_of(day, first_day).name for day in days}
    assert len(names) <= 50
    assert max(partition_of(first_day - timedelta(days=1), first_day).ends, first_day) == first_day
