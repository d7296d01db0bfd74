"""A loss that is accepted moves its partitions alone, from where they are, and nobody writes from before it."""

import psycopg
import pytest
from psycopg.rows import dict_row

from api.database_access import DatabaseAccess
from api.settings import Settings
from domain.errors import ConflictError, DatabaseRefusedError, FencedError
from domain.log_ends import Ends, Lost
from storage.database import INGEST_ROLE
from storage.layout import accept_lost, adopt, positions
from storage.partition import PartitionStore
from storage.platform_log import Wanted, page

TOPIC = "bpm.readings.v1/one"


def lost(ends: Ends, position: int) -> Lost:
    found = ends.lost(position)
    assert found is not None
    return found


def test_a_loss_is_accepted_where_the_partition_stands_and_fences_off_who_wrote_before(
    own_database: DatabaseAccess,
) -> None:
    conninfo = own_database.as_role(INGEST_ROLE, Settings())
    adopt(own_database.admin, TOPIC, {0: 5, 1: 9})
    paused, beside = (PartitionStore(conninfo, number, log=TOPIC) for number in (1, 0))
    try:
        paused.take_over()
        beside.take_over()
        dropped, ended = lost(Ends(20, 30), 9), lost(Ends(2, 4), 5)
        with pytest.raises(ConflictError, match="partition 1 isn't at position 8 any more"):
            accept_lost(conninfo, TOPIC, {0: ended, 1: lost(Ends(20, 30), 8)})
        with pytest.raises(DatabaseRefusedError, match=r"come from the topic bpm\.readings\.v1/one"):
            accept_lost(conninfo, "bpm.readings.v1/two", {1: dropped})
        # All or nothing: the other one of the first try has not moved either.
        entries = page(conninfo, Wanted(action="partitions.loss_accepted"), None, 10)[0]
        assert (positions(own_database.admin), entries) == ({0: 5, 1: 9}, [])
        accept_lost(conninfo, TOPIC, {1: dropped})
        with pytest.raises(FencedError), paused.group(10):
            pass
        with pytest.raises(FencedError):
            paused.check()
        beside.check()
        assert positions(own_database.admin) == {0: 5, 1: 20}
        with pytest.raises(ConflictError, match="partition 1 isn't at position 9 any more"):
            accept_lost(conninfo, TOPIC, {1: dropped})
        accept_lost(conninfo, TOPIC, {0: ended})
        # What the topic still has is gone through again.
        assert positions(own_database.admin) == {0: 2, 1: 20}
    finally:
        paused.close()
        beside.close()
    told = {
        "topic": TOPIC,
        "partition": 1,
        "first_lost": 9,
        "last_lost": 19,
        "messages_max": 11,
        "goes_on_at": 20,
    }
    entries = page(conninfo, Wanted(action="partitions.loss_accepted"), None, 10)[0]
    assert [(one["subject"], one["resource_id"]) for one in entries] == [
        ("installation", "bpm.readings.v1:0"),
        ("installation", "bpm.readings.v1:1"),
    ]
    assert entries[1]["after"] == told
    with psycopg.connect(own_database.admin, row_factory=dict_row) as connection:
        ranges = connection.execute(
            "SELECT partition_no, first_position, last_position FROM bpm.lost_ranges ORDER BY accepted_at"
        ).fetchall()
    assert [tuple(one.values()) for one in ranges] == [(1, 9, 19), (0, 5, None)]


def test_a_body_is_lost_when_a_message_of_it_stood_where_a_loss_was_accepted(
    own_database: DatabaseAccess,
) -> None:
    def is_lost(numbers: list[int], places: list[int], topic: str = TOPIC, sent_at: str = "now()") -> bool:
        columns = (
            "tenant_id, id, subject, arrived_at, registry_version, topic, partition_nos, positions, sent_at"
        )
        with psycopg.connect(own_database.admin, options="-c search_path=bpm") as connection:
            row = connection.execute(
                f"INSERT INTO submissions ({columns}) SELECT tenant_id, gen_random_uuid(), '', now(), 0, %s, %s, %s,"
                f" {sent_at} FROM tenants RETURNING is_lost(submissions)",
                (topic, numbers, places),
            ).fetchone()
        assert row is not None
        return bool(row[0])

    with psycopg.connect(own_database.admin, options="-c search_path=bpm") as connection:
        connection.execute("INSERT INTO tenants (name) VALUES ('a')")
        connection.execute(
            "INSERT INTO lost_ranges (topic, partition_no, first_position, last_position)"
            " VALUES (%(topic)s, 1, 9, 19), (%(topic)s, 0, 50, NULL)",
            {"topic": TOPIC},
        )
    assert [is_lost([1], [place]) for place in (8, 9, 19, 20)] == [False, True, True, False]
    assert (is_lost([2, 1], [9, 12]), is_lost([1, 2, 1], [8, 12, 20])) == (True, False)
    assert not is_lost([1], [9], "bpm.readings.v1/two")
    # Positions behind the end are given again: to what was sent after the loss was accepted.
    assert [is_lost([0], [70], sent_at=f"now() {when} interval '1 hour'") for when in "-+"] == [True, False]
    assert not is_lost([0], [49], sent_at="now() - interval '1 hour'")
    # Of a topic that is left nothing is committed any more.
    adopt(own_database.admin, TOPIC, {0: 0, 1: 30})
    adopt(own_database.admin, "bpm.readings.v1/two", {0: 0, 1: 0}, anew=True)
    (entry, first) = page(
        own_database.as_role(INGEST_ROLE, Settings()), Wanted(action="topics.adopted"), None, 10
    )[0]
    assert (entry["after"], first["after"]["left"]) == (
        {"topic": "bpm.readings.v1/two", "partitions": 2, "left": TOPIC},
        None,
    )
    sent_before = "now() - interval '1 hour'"
    assert [is_lost([1], [place], sent_at=sent_before) for place in (29, 30)] == [False, True]
    assert not is_lost([1], [30], "bpm.readings.v1/two", sent_before)
