"""Modules whose tests are run with both runners: readings taken in by the process itself, and through a topic."""

import pytest

EMBEDDED = "embedded"
TOPIC = "topic"

BOTH = (EMBEDDED, pytest.param(TOPIC, marks=pytest.mark.needs_kafka))
