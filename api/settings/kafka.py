"""The cluster, its topics, and the workers on them."""

import re

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from streams.topics import PREFIX

_BROKER = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}"
_BROKERS = re.compile(rf"{_BROKER}(?:,{_BROKER})*")
_PORT_MAX = 65_535


class Kafka(BaseSettings):
    """Brokers, topics, messages and workers."""

    kafka: str | None = Field(
        None, description="brokers of a Kafka cluster, `HOST:PORT`, several separated by commas"
    )
    kafka_partitions: int = Field(
        8,
        ge=1,
        le=10_000,
        description="partitions over which packs are spread, fixed when the topics are created; a topic of readings"
        " with another number is refused",
    )
    kafka_copies: int | None = Field(
        None,
        ge=1,
        le=10,
        description="copies of each message, on as many brokers; without, 3, or as many as there are brokers",
    )

    kafka_prefix: str = Field(
        PREFIX,
        pattern="^[A-Za-z0-9_-]{1,100}$",
        description="begin of the topics' names, without a dot: installations that share a cluster differ in it. It is"
        " fixed when the topics are created; another one is refused",
    )
    kafka_group: str | None = Field(
        None, description="consumer group of the workers; without, the prefix with `-workers`"
    )
    kafka_ack_s_max: float = Field(
        15.0,
        gt=0,
        description="wait for the brokers' acknowledgement of a message; then 503, and events of alerts are another"
        " worker's to publish",
    )
    receipt_wait_s: float = Field(
        10.0,
        ge=0,
        description="wait of a request for the receipt from a worker; then 202 and a pending receipt",
    )
    message_readings_max: int = Field(5_000, gt=0, description="readings in one message of the topic")
    message_raw_bytes_max: int = Field(
        262_144, gt=0, description="bytes of readings that were set aside, as they came, in one message"
    )
    behind_messages_max: int = Field(
        2_000, gt=0, description="messages of a partition that its worker has not committed; then 429"
    )
    group_messages_max: int = Field(64, gt=0, description="messages that a worker commits in one transaction")
    singles_max: int = Field(
        5_000, gt=0, description="single readings of the topic that are sent on together"
    )
    singles_wait_s: float = Field(
        0.05, gt=0, le=10, description="wait of a single reading for others to be sent on with"
    )
    worker_session_s: float = Field(
        10.0, ge=0.5, description="silence of a worker after which others take its partitions over"
    )
    worker_stale_after_s: float = Field(
        10.0,
        gt=0,
        description="age of a partition's last report from which its live figures are called stale",
    )
    worker_metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="port on which a worker shows its metrics, at the host's address; 0 for none",
    )

    @field_validator("kafka")
    @classmethod
    def _brokers(cls, brokers: str | None) -> str | None:
        if brokers is not None and _BROKERS.fullmatch(brokers) is None:
            raise ValueError("give HOST:PORT, several separated by commas without spaces")
        for address in brokers.split(",") if brokers else ():
            if not 1 <= int(address.rpartition(":")[2]) <= _PORT_MAX:
                raise ValueError(f"the port of {address} is not one of 1 to {_PORT_MAX}")
        return brokers
