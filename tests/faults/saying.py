"""Contradictions in words."""

from collections.abc import Iterable

_EXAMPLES = 5


def said(what: str, which: Iterable[object]) -> str | None:
    """How many there are of what, with a few examples; None when there is none."""
    listed = list(which)
    if not listed:
        return None
    return f"{len(listed)} {what}: {'; '.join(map(str, listed[:_EXAMPLES]))}"
