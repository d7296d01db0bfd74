"""Topics are created as the list says, and what differs is told and left as it is. On a real broker."""

import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from kafka import KafkaProducer
from kafka.admin import ConfigResource, KafkaAdminClient
from typer.testing import CliRunner

from api.cli.checks import Finding, State, check_kafka
from api.cli.main import app
from api.cli.topics import migrate_topics
from api.database_access import DatabaseAccess
from api.settings import Settings
from api.topic import group_of, log_of
from api.worker import WorkerProcess
from domain.errors import (
    DatabaseRefusedError,
    KafkaRefusedError,
    KafkaUnreachableError,
    SettingsRefusedError,
)
from storage.layout import layout, positions
from streams.topic_admin import (
    TopicSizes,
    create_topics,
    identity_of,
    inspect_topics,
    made_anew,
    require_log,
    require_topics,
)
from streams.topics import ALERTS, DEAD_LETTERS, READINGS, SINGLES, TOPICS
from tests.kafka.broker import Cluster
from tests.running import until

pytestmark = pytest.mark.needs_kafka

SIZES = TopicSizes(partitions=4, copies=None)
NOWHERE = "127.0.0.1:1"
NAMES = [topic.name for topic in TOPICS]


@pytest.fixture(scope="module")
def broker(kafka_jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker whose topics are this module's alone."""
    with Cluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster.bootstrap


@pytest.fixture(scope="module")
def administered(broker: str) -> Iterator[KafkaAdminClient]:
    """A client of the tests' own, beside the code that is tested."""
    admin = KafkaAdminClient(bootstrap_servers=broker)
    yield admin
    admin.close()


@pytest.fixture
def empty(broker: str, administered: KafkaAdminClient) -> str:
    """The broker without any topic."""
    if names := administered.list_topics():
        administered.delete_topics(names)
        until(lambda: administered.list_topics() == [])
    return broker


def make(administered: KafkaAdminClient, topic: str, partitions: int, **settings: str) -> None:
    """A topic as somebody else made it."""
    wanted = {"num_partitions": partitions, "replication_factor": 1, "configs": settings}
    administered.create_topics({topic: wanted}, wait_for_metadata=True)


def settings_of(administered: KafkaAdminClient, topic: str) -> dict[str, str]:
    told = administered.describe_configs([ConfigResource("TOPIC", topic)], config_filter="all")
    return {name: one["value"] for name, one in told["topic"][topic].items()}


def partitions_of(administered: KafkaAdminClient, topic: str) -> int:
    (told,) = administered.describe_topics([topic])
    return len(told["partitions"])


def test_missing_topics_are_created_with_every_setting_of_the_list(
    empty: str, administered: KafkaAdminClient
) -> None:
    assert inspect_topics(empty, SIZES).missing == tuple(NAMES)
    seen = create_topics(empty, SIZES)
    assert (seen.created, seen.missing, seen.drifts, seen.brokers) == (tuple(NAMES), (), (), 1)
    for topic in TOPICS:
        found = settings_of(administered, topic.name)
        assert {name: found[name] for name in topic.configuration(1)} == topic.configuration(1)
    counts = [partitions_of(administered, topic.name) for topic in (READINGS, ALERTS, DEAD_LETTERS)]
    assert counts == [4, 4, 1]


def test_creating_again_changes_nothing(empty: str) -> None:
    create_topics(empty, SIZES)
    seen = create_topics(empty, SIZES)
    assert (seen.created, seen.drifts) == ((), ())
    assert require_topics(empty, SIZES) == ()


def test_every_kind_of_drift_is_told_and_left_as_it_is(empty: str, administered: KafkaAdminClient) -> None:
    wrong = {
        "cleanup.policy": "compact",
        "retention.ms": "1000",
        "retention.bytes": "5000000",
        "max.message.bytes": "2000",
        "min.insync.replicas": "2",
        "unclean.leader.election.enable": "true",
        "compression.type": "zstd",
    }
    make(administered, ALERTS.name, 2, **wrong)
    seen = create_topics(empty, SIZES)
    assert ALERTS.name not in seen.created
    assert {drift.topic for drift in seen.drifts} == {ALERTS.name}
    assert {drift.what: drift.found for drift in seen.drifts} == wrong | {"partitions": "2"}
    assert {drift.what: drift.expected for drift in seen.drifts} == ALERTS.configuration(1) | {
        "partitions": "4"
    }
    found = settings_of(administered, ALERTS.name)
    assert {name: found[name] for name in wrong} == wrong
    assert partitions_of(administered, ALERTS.name) == 2
    assert set(require_topics(empty, SIZES)) == set(seen.drifts)


@pytest.mark.parametrize("partitions", [2, 6])
def test_another_number_of_partitions_of_readings_is_refused_with_both_figures(
    empty: str, administered: KafkaAdminClient, partitions: int
) -> None:
    make(administered, READINGS.name, partitions)
    create_topics(empty, SIZES)
    with pytest.raises(KafkaRefusedError, match=f"partitions is {partitions}, should be 4"):
        require_topics(empty, SIZES)
    assert partitions_of(administered, READINGS.name) == partitions


def test_missing_topics_are_required_by_name_and_not_made(empty: str, administered: KafkaAdminClient) -> None:
    with pytest.raises(KafkaRefusedError, match=r"bpm\.readings\.v1.*bpm migrate"):
        require_topics(empty, SIZES)
    assert administered.list_topics() == []


def test_more_copies_than_brokers_are_refused(empty: str, administered: KafkaAdminClient) -> None:
    with pytest.raises(KafkaRefusedError, match="3 copies"):
        create_topics(empty, TopicSizes(4, copies=3))
    assert administered.list_topics() == []


def test_migrate_prints_a_line_for_each_topic_and_difference_and_its_exit_code_tells(
    empty: str,
    administered: KafkaAdminClient,
    own_database: DatabaseAccess,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = Settings(kafka=empty, kafka_partitions=4, data_dir=tmp_path)
    assert migrate_topics(settings, own_database) == 0
    assert [line for line in capsys.readouterr().err.splitlines() if "created" in line] == [
        f"created: {name}" for name in NAMES
    ]
    administered.alter_configs([ConfigResource("TOPIC", ALERTS.name, {"retention.ms": "1000"})])
    assert migrate_topics(settings, own_database) == 1
    assert "bpm.alerts.v1: retention.ms is 1000, should be 2592000000" in capsys.readouterr().err
    administered.create_partitions({READINGS.name: 5})
    until(lambda: partitions_of(administered, READINGS.name) == 5)
    assert migrate_topics(settings, own_database) == 3
    said = capsys.readouterr().err
    assert "bpm.readings.v1: partitions is 5, should be 4" in said
    assert "retention.ms" in said


def findings(settings: Settings) -> list[Finding]:
    return list(check_kafka(settings))


def test_doctor_tells_missing_topics_drift_and_a_cluster_that_is_well(
    empty: str, administered: KafkaAdminClient, tmp_path: Path
) -> None:
    settings = Settings(kafka=empty, kafka_partitions=4, data_dir=tmp_path)
    lacking = findings(settings)
    assert [one.state for one in lacking] == [State.OK, State.FAILURE]
    assert READINGS.name in lacking[1].found
    create_topics(empty, SIZES)
    assert [(one.state, one.found) for one in findings(settings)] == [
        (State.OK, "one broker answers"),
        (State.OK, "all are as they should be"),
    ]
    administered.alter_configs([ConfigResource("TOPIC", ALERTS.name, {"retention.ms": "1000"})])
    assert [one.state for one in findings(settings)] == [State.OK, State.WARNING]
    more = Settings(kafka=empty, kafka_partitions=5, data_dir=tmp_path)
    assert State.FAILURE in {one.state for one in findings(more)}


def test_a_cluster_that_is_not_there_is_told_by_doctor_and_by_migrate(tmp_path: Path) -> None:
    (found,) = findings(Settings(kafka=NOWHERE, data_dir=tmp_path))
    assert (found.state, NOWHERE in found.found) == (State.FAILURE, True)
    with pytest.raises(KafkaUnreachableError, match=NOWHERE):
        migrate_topics(Settings(kafka=NOWHERE, data_dir=tmp_path), DatabaseAccess(""))


def test_one_broker_of_those_named_is_enough(empty: str) -> None:
    assert inspect_topics(f"{NOWHERE},{empty}", SIZES).brokers == 1
    with socket.create_server(("127.0.0.1", 0)) as silent:
        # It takes connections, and never answers.
        port = silent.getsockname()[1]
        assert inspect_topics(f"127.0.0.1:{port},{empty}", SIZES).brokers == 1


def test_doctor_says_nothing_of_kafka_where_none_is_set(tmp_path: Path) -> None:
    assert findings(Settings(data_dir=tmp_path)) == []


@pytest.mark.parametrize(
    "brokers", ["localhost", "a:1, b:2", "kafka://a:1", "a:1,", ":9092", "a:1,b:99999", "a:0"]
)
def test_what_is_no_list_of_brokers_is_refused_before_anything_starts(
    brokers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BPM_DATA_DIR", str(tmp_path / "none"))
    done = CliRunner().invoke(app, ["migrate", "--kafka", brokers])
    assert "BPM_KAFKA" in str(done.exception)
    assert not (tmp_path / "none").exists()


def test_installations_of_one_cluster_have_topics_of_their_own(
    empty: str, administered: KafkaAdminClient, own_database: DatabaseAccess, tmp_path: Path
) -> None:
    settings = Settings(kafka=empty, kafka_partitions=4, kafka_prefix="plant-1", data_dir=tmp_path)
    assert migrate_topics(settings, own_database) == 0
    names = {name.replace("bpm", "plant-1", 1) for name in NAMES}
    assert set(administered.list_topics()) == names
    assert [one.state for one in findings(settings)] == [State.OK, State.OK]
    made = layout(own_database.admin)
    assert log_of(made, settings).startswith("plant-1.readings.v1/")
    assert group_of(settings) == "plant-1-workers"
    other = Settings(kafka=empty, kafka_partitions=4, data_dir=tmp_path)
    with pytest.raises(SettingsRefusedError, match="another installation's"):
        log_of(made, other)
    with pytest.raises(DatabaseRefusedError, match="come from the topic plant-1"):
        migrate_topics(other, own_database)
    assert set(administered.list_topics()) == names | set(NAMES)


def test_topics_that_were_made_anew_are_refused_until_they_are_adopted(
    empty: str, administered: KafkaAdminClient, own_database: DatabaseAccess, tmp_path: Path
) -> None:
    settings = Settings(kafka=empty, kafka_partitions=2, data_dir=tmp_path)
    assert migrate_topics(settings, own_database) == 0
    lost = log_of(layout(own_database.admin), settings)
    require_log(empty, lost)
    singles = identity_of(empty, SINGLES.name)
    assert made_anew(empty, [lost, singles]) is None
    publish(empty, READINGS.name, 3)
    with psycopg.connect(own_database.admin, autocommit=True) as connection:
        connection.execute("UPDATE bpm.partitions SET next = 2")
    administered.delete_topics(NAMES)
    until(lambda: administered.list_topics() == [])
    assert made_anew(empty, [lost, singles]) is None
    with pytest.raises(DatabaseRefusedError, match="--adopt-new-topic"):
        migrate_topics(settings, own_database)
    with pytest.raises(KafkaRefusedError, match="made anew"):
        require_log(empty, lost)
    assert "the topic bpm.readings.single.v1 was made anew" in (made_anew(empty, [singles]) or "")
    assert positions(own_database.admin) == {0: 2, 1: 2}
    with pytest.raises(KafkaRefusedError, match="made anew"):
        WorkerProcess(settings, own_database, layout(own_database.admin))
    assert migrate_topics(settings, own_database, anew=True) == 0
    require_log(empty, log_of(layout(own_database.admin), settings))
    assert positions(own_database.admin) == {0: 0, 1: 0}


def test_a_topic_with_messages_that_wait_is_not_given_up(
    empty: str, own_database: DatabaseAccess, tmp_path: Path
) -> None:
    here = Settings(kafka=empty, kafka_partitions=2, data_dir=tmp_path)
    assert migrate_topics(here, own_database) == 0
    publish(empty, READINGS.name, 3)
    there = Settings(kafka=empty, kafka_partitions=2, kafka_prefix="plant-2", data_dir=tmp_path)
    with pytest.raises(KafkaRefusedError, match="with 3 messages"):
        migrate_topics(there, own_database, anew=True)
    with psycopg.connect(own_database.admin, autocommit=True) as connection:
        connection.execute("UPDATE bpm.partitions SET next = 3 WHERE partition_no = 1")
    assert migrate_topics(there, own_database, anew=True) == 0
    more = Settings(kafka=empty, kafka_partitions=3, kafka_prefix="plant-3", data_dir=tmp_path)
    with pytest.raises(DatabaseRefusedError, match="their number is fixed"):
        migrate_topics(more, own_database, anew=True)


def publish(bootstrap: str, topic: str, messages: int) -> None:
    """Messages of anybody's in the topic's partition 1."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    for sent in [producer.send(topic, b"any", partition=1) for _ in range(messages)]:
        sent.get(30)
    producer.close()
