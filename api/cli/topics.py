"""What `bpm migrate` does at a Kafka cluster: creates topics that are missing, and tells how the others differ."""

from api.cli.context import Exit, console
from api.settings import Settings
from streams.topic_admin import TopicSizes, create_topics


def topic_sizes(settings: Settings) -> TopicSizes:
    """How these settings make topics."""
    return TopicSizes(settings.kafka_partitions, settings.kafka_copies)


def migrate_topics(bootstrap: str, settings: Settings) -> Exit:
    """Create what is missing and say what differs. Raises KafkaUnreachableError and KafkaRefusedError."""
    seen = create_topics(bootstrap, topic_sizes(settings))
    for name in seen.created:
        console.print(f"created: {name}")
    for name in seen.missing:
        console.print(f"not there yet, though it was made: {name}", style="yellow")
    for drift in seen.drifts:
        console.print(str(drift), markup=False, style="bold red" if drift.refuses else "yellow")
    if not seen.drifts and not seen.missing:
        console.print("The topics are as they should be.")
        return Exit.DONE
    return Exit.REFUSED if any(drift.refuses for drift in seen.drifts) else Exit.FAILED
