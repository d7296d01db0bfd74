"""Routes of alert rules."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.call import Call
from api.routing import Allowed, IfMatch, PageOf, RecordId, answer, etag, listed, router, version_of
from api.rules import schemas, service
from domain.policy import Action

routes = router("rules")

HTTP_CREATED = 201

Reader = Annotated[Call, Depends(Allowed(Action.RULE_READ))]
Writer = Annotated[Call, Depends(Allowed(Action.RULE_WRITE))]


@routes.post("/rules", response_model=schemas.Rule, status_code=HTTP_CREATED)
async def create(new: schemas.NewRule, call: Writer) -> Response:
    """Create an alert rule, which applies to readings from now on."""
    row = await service.create(call, new)
    return answer(row, HTTP_CREATED, etag(row["version"]))


@routes.get("/rules", response_model=schemas.RulePage)
async def page(request: Request, asked: Annotated[PageOf, Query()], call: Reader) -> Response:
    """List alert rules by name."""
    items, after = await service.page(call, asked.cursor, asked.limit)
    return listed(request, items, after)


@routes.get("/rules/templates", response_model=schemas.TemplatePage)
async def templates(request: Request, chemistry: schemas.ChemistryName, call: Reader) -> Response:  # noqa: ARG001
    """List rules to begin with for packs of a chemistry."""
    return listed(request, service.templates_for(chemistry), None)


@routes.post("/rules/preview", response_model=schemas.PreviewAnswer)
async def preview(asked: schemas.Preview, call: Writer) -> Response:
    """Run a rule over stored live readings: the alerts that a live run would have given. Nothing is stored."""
    return answer(await service.preview(call, asked))


@routes.get("/rules/{id}", response_model=schemas.Rule)
async def get(record_id: RecordId, call: Reader) -> Response:
    """Read an alert rule."""
    row = await service.get(call, record_id)
    return answer(row, headers=etag(row["version"]))


@routes.patch("/rules/{id}", response_model=schemas.Rule)
async def change(
    record_id: RecordId, changes: schemas.RuleChange, call: Writer, if_match: IfMatch = None
) -> Response:
    """Edit an alert rule: send what changes, with If-Match. What it judges by changes from now on, as its next
    version; alerts of the version before are cleared when the next reading comes.
    """
    row = await service.change(call, record_id, version_of(if_match), changes)
    return answer(row, headers=etag(row["version"]))


@routes.get("/rules/{id}/versions", response_model=schemas.RuleVersionPage)
async def versions(
    request: Request, record_id: RecordId, asked: Annotated[PageOf, Query()], call: Reader
) -> Response:
    """List the versions of an alert rule, oldest first."""
    items, after = await service.versions(call, record_id, asked.cursor, asked.limit)
    return listed(request, items, after)
