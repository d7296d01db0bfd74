"""Routes of key aliases."""

from typing import Annotated

from fastapi import Depends
from starlette.responses import Response

from api.call import Call
from api.key_aliases import schemas, service
from api.routing import Allowed, IfMatch, answer, etag, router, version_of
from domain.policy import Action

routes = router("key aliases")


@routes.get("/key-aliases", response_model=schemas.AliasesNow)
async def get(call: Annotated[Call, Depends(Allowed(Action.KEY_ALIAS_READ))]) -> Response:
    """Read the other names of keys that readings may use."""
    found = await service.get(call)
    return answer(found, headers=etag(found["version"]))


@routes.put("/key-aliases", response_model=schemas.AliasesNow)
async def replace(
    given: schemas.AliasSet,
    call: Annotated[Call, Depends(Allowed(Action.KEY_ALIAS_WRITE))],
    if_match: IfMatch = None,
) -> Response:
    """Replace the whole set of key aliases, with If-Match. They hold for every body that is judged from then on."""
    aliases = [alias.model_dump() for alias in given.aliases]
    kept = await service.replace(call, version_of(if_match), aliases)
    return answer(kept, headers=etag(kept["version"]))
