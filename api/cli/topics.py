"""What `bpm migrate` does at a Kafka cluster: creates topics that are missing, and tells how the others differ."""

from functools import partial

from api.cli.context import Exit, console
from api.database_access import DatabaseAccess
from api.settings import Settings
from api.topic import bootstrap_of
from domain.errors import KafkaRefusedError
from storage.layout import adopt, positions
from streams.topic_admin import TopicSizes, create_topics, readings_origin, unread


def topic_sizes(settings: Settings) -> TopicSizes:
    """How these settings make topics."""
    return TopicSizes(settings.kafka_partitions, settings.kafka_copies, settings.kafka_prefix)


def migrate_topics(settings: Settings, access: DatabaseAccess, *, anew: bool = False) -> Exit:
    """Create what is missing and say what differs; the installation's readings come from its topic from now on.

    anew: also when they come from another topic, which is lost or read to its end.
    Raises KafkaUnreachableError, KafkaRefusedError, and DatabaseRefusedError when they come from another topic.
    """
    brokers = bootstrap_of(settings)
    seen = create_topics(brokers, topic_sizes(settings))
    for name in seen.created:
        console.print(f"created: {name}")
    for name in seen.missing:
        console.print(f"not there yet, though it was made: {name}", style="yellow")
    for drift in seen.drifts:
        console.print(str(drift), markup=False, style="bold red" if drift.refuses else "yellow")
    if any(drift.refuses for drift in seen.drifts):
        return Exit.REFUSED
    origin = readings_origin(brokers, settings.kafka_prefix)
    require_read = partial(_require_read, brokers, access)
    if adopt(access.admin, origin.topic, origin.first, anew=anew, require_read=require_read):
        console.print(f"Readings come from {origin.topic} from now on, over {len(origin.first)} partitions.")
    if not seen.drifts and not seen.missing:
        console.print("The topics are as they should be.")
        return Exit.DONE
    return Exit.FAILED


def _require_read(brokers: str, access: DatabaseAccess, topic: str) -> None:
    """Raises KafkaRefusedError when the topic of now is there, with messages that aren't committed."""
    if count := sum(unread(brokers, topic, positions(access.admin)).values()):
        raise KafkaRefusedError(
            f"the topic {topic} is there, with {count} messages that are not committed:"
            " let workers commit them first"
        )
