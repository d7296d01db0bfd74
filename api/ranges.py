"""Ranges of time, as every route reads them: from <= t < to."""

from datetime import datetime

from domain.errors import InvalidRequestError


def require_range(starts: datetime | None, ends: datetime | None) -> None:
    """Raises InvalidRequestError for a range that holds no moment; an end that isn't given is open."""
    if starts is not None and ends is not None and starts >= ends:
        raise InvalidRequestError("`from` is not before `to`", field="to")
