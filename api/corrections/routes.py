"""Routes of corrections."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.call import Call
from api.corrections import schemas, service
from api.errors import may_answer
from api.routing import Allowed, PageOf, RecordId, answer, listed, router
from domain.errors import ConflictError, NotFoundError
from domain.policy import Action

routes = router("corrections")

HTTP_OK, HTTP_ACCEPTED = 200, 202

Reader = Annotated[Call, Depends(Allowed(Action.CORRECTION_READ))]
Writer = Annotated[Call, Depends(Allowed(Action.CORRECTION_WRITE))]

UNDER_WAY: dict[int | str, dict[str, Any]] = {
    HTTP_ACCEPTED: {
        "model": schemas.Correction,
        "description": "Still under way; Location says where to ask",
    },
    **may_answer(NotFoundError, ConflictError),
}


def _answer(row: dict[str, Any]) -> Response:
    if service.is_done(row):
        return answer(row)
    return answer(row, HTTP_ACCEPTED, {"Location": f"/v1/corrections/{row['id']}"})


@routes.post("/corrections", response_model=schemas.Correction, responses=UNDER_WAY)
async def ask(new: schemas.AnyCorrection, call: Writer) -> Response:
    """Delete readings of a range, a batch or an import, or put one reading right. What was stored before is kept
    for audit, windows are counted again, and sending it once more doesn't bring it back.
    """
    return _answer(await service.ask(call, new.root))


@routes.get("/corrections", response_model=schemas.CorrectionPage)
async def page(request: Request, asked: Annotated[PageOf, Query()], call: Reader) -> Response:
    """List corrections, oldest first."""
    items, after = await service.page(call, asked.cursor, asked.limit)
    return listed(request, items, after)


@routes.get("/corrections/{id}", response_model=schemas.Correction)
async def get(record_id: RecordId, call: Reader) -> Response:
    """Read a correction, and how far it has come."""
    return answer(await service.get(call, record_id))


@routes.delete("/imports/{id}", response_model=schemas.Correction, responses=UNDER_WAY)
async def undo_import(record_id: RecordId, call: Writer) -> Response:
    """Undo an import: delete what it stored. It takes no more readings from then on."""
    return _answer(await service.ask(call, _undo(record_id)))


def _undo(import_id: UUID) -> schemas.DeleteImport:
    return schemas.DeleteImport.model_validate(
        {"kind": "delete_import", "import": import_id, "reason": "the import is undone"}
    )
