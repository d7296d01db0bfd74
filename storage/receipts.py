"""Receipts as rows of the table of batches."""

from collections.abc import Mapping
from typing import Any

import orjson

from domain.receipts import ItemOutcome, QuarantineReason, Receipt, ReceiptItem, ReceiptStatus


def items_to_json(receipt: Receipt) -> str:
    """The items of a receipt as JSON text; absent fields are left out."""
    return orjson.dumps(
        [
            {
                name: value
                for name in ("index", "outcome", "reason", "field", "limit")
                if (value := getattr(item, name)) is not None
            }
            for item in receipt.items
        ]
    ).decode()


def receipt_of(row: Mapping[str, Any]) -> Receipt:
    """The receipt that a row of `batches` holds."""
    return Receipt(
        id=row["id"],
        status=ReceiptStatus.COMMITTED,
        received=row["received"],
        accepted=row["accepted"],
        duplicate=row["duplicate"],
        quarantined=row["quarantined"],
        late=row["late"],
        conflicting=row["conflicting"],
        items=tuple(
            ReceiptItem(
                item["index"],
                ItemOutcome(item["outcome"]),
                QuarantineReason(item["reason"]),
                item.get("field"),
                item.get("limit"),
            )
            for item in row["items"]
        ),
        ignored_keys=tuple(row["ignored_keys"]),
        items_omitted=row["items_omitted"],
    )
