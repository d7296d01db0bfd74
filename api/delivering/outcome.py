"""What became of one attempt."""

import re
from dataclasses import dataclass
from typing import Final

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a receiver answered, or why there was no answer.

    rests: the receiver as a whole doesn't work now, so that what waits behind isn't tried either. gone: it says
    that it is there no more. final: no other attempt can succeed. retry_after_s: when it asks to be tried again.
    """

    delivered: bool
    status: int | None = None
    answer: str | None = None
    error: str | None = None
    rests: bool = False
    gone: bool = False
    final: bool = False
    retry_after_s: float | None = None


def excerpt(text: str, characters_max: int) -> str:
    """The beginning of what was answered, without what is no text."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text[:characters_max])
