from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


@pytest.fixture(scope="session")
def recorded_data() -> Path:
    """The folder of recorded logs, which isn't part of the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the recorded logs in shared/data beside the repository")
    return SHARED_DATA


@pytest.fixture(scope="session")
def maps() -> Path:
    return REPOSITORY / "docs" / "how-to" / "maps"
