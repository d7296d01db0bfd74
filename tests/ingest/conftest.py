from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def maps() -> Path:
    """The maps of the documentation, which tests use as users do."""
    return Path(__file__).parents[2] / "docs" / "how-to" / "maps"
