"""The version of this engine."""

from typing import Final

VERSION: Final = "0.1.0"
