"""What quarantine keeps beside a reading that was set aside, so that it can be judged again later."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_CUT: Final = re.compile(r"…\[cut: \d+ bytes, SHA-256 [0-9a-f]{64}\]\Z")


class RawForm(StrEnum):
    """How the raw text of a reading is written.

    json: a JSON value, natively an object. csv: the header and the row, a line each. thingsboard: a JSON object of
    `pack`, and `ts` and `values` where they could be told.
    """

    JSON = "json"
    CSV = "csv"
    THINGSBOARD = "thingsboard"


def _no_pack(_: int) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class ItemOrigin:
    """Where the readings of a batch come from: how they are written, and what their sender was limited to.

    pack_limit: the only pack that the sender may name. own_device: whether that pack's own device sends.
    site_limit: names of the only sites, sorted. pack_of: the external id in the reading at an index of the body,
    None where it can't be read. in_form: indexes of the only readings that are written in this form, the others being
    JSON; None: all are.
    """

    form: RawForm = RawForm.JSON
    pack_limit: str | None = None
    own_device: bool = False
    site_limit: tuple[str, ...] | None = None
    pack_of: Callable[[int], str | None] = _no_pack
    in_form: frozenset[int] | None = None

    def form_of(self, index: int) -> RawForm:
        """How the reading at an index is written."""
        return self.form if self.in_form is None or index in self.in_form else RawForm.JSON

    def digest(self, raw: str, form: RawForm) -> bytes:
        """SHA-256 by which an item is known: of its text, and of the form and limits where they aren't plain.

        Equal texts of senders with different limits stay apart, because each is judged again by its own.
        """
        plain = form is RawForm.JSON and self.pack_limit is None and self.site_limit is None
        limits = "" if plain else repr((form.value, self.pack_limit, self.own_device, self.site_limit))
        return hashlib.sha256((limits + raw).encode()).digest()


PLAIN_ORIGIN: Final = ItemOrigin()


def cut_raw(raw: str, bytes_max: int) -> str:
    """The text, or its beginning with a mark when it has more bytes.

    >>> cut_raw("short", 100)
    'short'
    >>> is_cut(cut_raw("long" * 100, 100))
    True
    """
    encoded = raw.encode()
    if len(encoded) <= bytes_max:
        return raw
    digest = hashlib.sha256(encoded).hexdigest()
    return f"{encoded[:bytes_max].decode(errors='ignore')}…[cut: {len(encoded)} bytes, SHA-256 {digest}]"


def is_cut(raw: str) -> bool:
    """Whether a text is only the beginning of what was sent."""
    return _CUT.search(raw) is not None
