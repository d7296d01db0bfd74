"""Where the jars of the broker lie, and what is missing to run them."""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
JARS = ROOT / ".kafka" / "libs"
ARCHIVE = ROOT / ".kafka" / "classes.jsa"
"""The broker's classes as Java keeps them for a quick start. Without it, or with another's, it starts slower."""


def missing() -> str | None:
    """What a broker lacks on this machine, as a sentence's end; None when it can be started."""
    if shutil.which("java") is None:
        return "java 17 (Debian: openjdk-17-jre-headless)"
    if not any(JARS.glob("kafka_*.jar")):
        return "the broker's jars (make kafka-jars, with Debian's maven)"
    return None
