"""The parts of an installation whose readings come from a topic, made and joined."""

from uuid import UUID

from api.runner import TopicRunner
from api.settings import Settings
from domain.clock import AnchoredClock
from domain.errors import SettingsRefusedError
from storage.alert_actions import AlertDesk
from storage.connections import connect
from storage.latest import LatestReader
from storage.layout import Layout
from storage.reports import Reports
from storage.submissions import Submissions
from storage.transactions import Pool
from streams.bus import Bus, BusLimits


def log_of(layout: Layout, settings: Settings) -> str:
    """The topic that the installation's readings come from, as name/id.

    Raises SettingsRefusedError without one, and when it isn't one of those that the settings name.
    """
    if layout.topic is None:
        raise SettingsRefusedError(
            "the readings of this installation come from its own process: run `bpm migrate --kafka` first",
            field="BPM_KAFKA",
        )
    if not layout.topic.startswith(f"{settings.kafka_prefix}."):
        raise SettingsRefusedError(
            f"the readings of this installation come from the topic {layout.topic}, which is another installation's"
            f" by this prefix: {settings.kafka_prefix}",
            field="BPM_KAFKA_PREFIX",
        )
    return layout.topic


def group_of(settings: Settings) -> str:
    """The consumer group of the workers."""
    return settings.kafka_group or f"{settings.kafka_prefix}-workers"


def bootstrap_of(settings: Settings) -> str:
    """The brokers' addresses. Raises SettingsRefusedError without any."""
    if not settings.kafka:
        raise SettingsRefusedError("say where the brokers are", field="BPM_KAFKA")
    return settings.kafka


def make_topic_runner(
    settings: Settings, ingest: str, directory: Pool, clock: AnchoredClock, layout: Layout
) -> TopicRunner:
    """The runner of an API process. ingest: a connection of the ingest role."""
    bus = Bus(
        bootstrap_of(settings),
        log_of(layout, settings),
        layout.partitions,
        Submissions(directory, ingest),
        BusLimits(
            queue_bytes_max=settings.queue_bytes_max,
            behind_messages_max=settings.behind_messages_max,
            message_readings_max=settings.message_readings_max,
            message_raw_bytes_max=settings.message_raw_bytes_max,
            ack_s_max=settings.kafka_ack_s_max,
            receipt_wait_s=settings.receipt_wait_s,
            store_s_max=settings.database_wait_s_max,
            retry_after_s=settings.retry_after_s,
        ),
    )

    def is_corrected(correction_id: UUID) -> bool:
        with connect(ingest, autocommit=True) as connection:
            row = connection.execute(
                "SELECT status = 'done' FROM bpm.corrections WHERE id = %s", (correction_id,)
            ).fetchone()
        return row is not None and bool(row[0])

    return TopicRunner(
        bus,
        LatestReader(ingest),
        Reports(ingest),
        settings.worker_stale_after_s,
        settings.silent_after_s,
        AlertDesk(ingest, layout.partitions),
        is_corrected,
        clock.now_ms,
        settings.recover_s_max,
        settings.retry_after_s,
    )
