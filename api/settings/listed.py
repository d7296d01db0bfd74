"""Several values in one setting."""

from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import NoDecode


def _parts(text: object) -> object:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if isinstance(text, str) else text


Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parts)]
"""Several values, separated by commas."""
