"""Routes of trends."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response, StreamingResponse

from api.call import Call
from api.routing import ARROW, CSV, JSON, Allowed, Moment, Name, chosen_format, router
from api.trends import encode, schemas, service
from domain.policy import Action

routes = router("trends")


@routes.get(
    "/trends",
    response_model=schemas.Trend,
    responses={
        200: {
            "content": {
                CSV: {"schema": {"type": "string"}},
                ARROW: {"schema": {"type": "string", "format": "binary"}},
            }
        }
    },
)
async def trend(
    request: Request,
    call: Annotated[Call, Depends(Allowed(Action.TELEMETRY_READ))],
    pack: Annotated[Name, Query(description="external id of the pack")],
    measure: Annotated[list[str], Query(min_length=1, max_length=7, description="may be repeated")],
    starts: Annotated[Moment, Query(alias="from", description="RFC 3339 with offset, inclusive")],
    ends: Annotated[Moment, Query(alias="to", description="RFC 3339 with offset, exclusive")],
) -> Response:
    """Every reading of a pack's measures in from <= t < to, in order of time."""
    chosen = chosen_format(request, JSON, CSV, ARROW)
    measures = list(dict.fromkeys(measure))
    points = await service.read(call, pack, measures, starts, ends)
    if chosen == CSV:
        chunks = encode.csv_chunks(measures, points)
    elif chosen == ARROW:
        chunks = encode.arrow_chunks(pack, measures, points)
    else:
        chunks = encode.json_chunks(pack, measures, points)
    if len(points) <= encode.CHUNK_POINTS:
        return Response(b"".join(chunks), media_type=chosen)
    return StreamingResponse(chunks, media_type=chosen)
