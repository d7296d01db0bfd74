"""Routes of alert rules."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from api.call import Call
from api.errors import may_answer, problem
from api.routing import (
    Allowed,
    IfMatch,
    PageOf,
    RecordId,
    answer,
    engine_of,
    etag,
    listed,
    read_body,
    router,
    version_of,
)
from api.rules import exchange, schemas, service
from api.yaml_text import YAML
from domain.errors import (
    ArchivedError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    UnsupportedFormatError,
)
from domain.policy import Action

routes = router("rules")

HTTP_OK, HTTP_CREATED, HTTP_INVALID = 200, 201, 422

YAML_TYPES = (YAML, "application/x-yaml", "text/yaml")
"""The type by its name, and as it was sent before it had one (RFC 9512)."""

_RULES_FILE = {
    "schema": {
        "type": "object",
        "required": ["rules"],
        "properties": {"rules": {"type": "array", "items": {"$ref": "#/components/schemas/NewRule"}}},
    }
}
YAML_BODY = {"requestBody": {"required": True, "content": {YAML: _RULES_FILE}}}

Reader = Annotated[Call, Depends(Allowed(Action.RULE_READ))]
Writer = Annotated[Call, Depends(Allowed(Action.RULE_WRITE))]


@routes.post(
    "/rules",
    response_model=schemas.Rule,
    status_code=HTTP_CREATED,
    responses=may_answer(ConflictError, NotFoundError),
)
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
async def templates(
    request: Request,
    chemistry: Annotated[schemas.ChemistryName, Query(description="of the packs' cells")],
    call: Reader,  # noqa: ARG001 - the policy is asked by it
) -> Response:
    """List rules to begin with for packs of a chemistry."""
    return listed(request, service.templates_for(chemistry), None)


@routes.get(
    "/rules/export",
    response_class=Response,
    responses={HTTP_OK: {"content": {YAML: _RULES_FILE}}},
)
async def export(call: Reader) -> Response:
    """All rules as YAML, which can be kept as a file and imported again."""
    return Response(await exchange.export(call), media_type=YAML)


@routes.post(
    "/rules/import",
    response_model=schemas.RulesImported,
    openapi_extra=YAML_BODY,
    responses=may_answer(ConflictError),
)
async def import_rules(
    request: Request,
    call: Writer,
    dry_run: Annotated[bool, Query(description="only say what would be done")] = False,
) -> Response:
    """Take rules from YAML, all or none, by their names: a new one is created, one that says otherwise gets its next
    version, and one that says the same stays, as do those that the file doesn't name.
    """
    body = await read_yaml_body(request)
    result = await exchange.import_rules(call, body, dry_run=dry_run)
    if not result.problems:
        return answer(result.model_dump())
    first, count = result.problems[0], len(result.problems)
    detail = f"{count} of {result.rules} rules are wrong, and nothing was done; rule {first.place}: {first.problem}"
    return problem(
        request, HTTP_INVALID, InvalidRequestError.code, "A rule is wrong", detail, field=first.field,
        **result.model_dump(),
    )  # fmt: skip


async def read_yaml_body(request: Request) -> bytes:
    """The YAML body. Raises UnsupportedFormatError for another type, BodyTooLargeError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in YAML_TYPES:
        raise UnsupportedFormatError(f"send the body as {YAML}", field="Content-Type")
    return await read_body(request, engine_of(request).settings.record_body_bytes_max)


@routes.post(
    "/rules/preview",
    response_model=schemas.PreviewAnswer,
    responses=may_answer(NotFoundError, ArchivedError),
)
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
