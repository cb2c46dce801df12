"""GET and POST /api/api-keys, DELETE /api/api-keys/{id}: for keys with the scope `admin`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from sdlc_agents.apikeys.middleware import caller
from sdlc_agents.apikeys.schemas import ApiKeyInput, ApiKeyOutput, NewApiKeyOutput
from sdlc_agents.apikeys.service import ApiKeyService
from sdlc_agents.kernel.callers import Caller
from sdlc_agents.kernel.paging import Cursor, Limit, Page

router = APIRouter(prefix="/api/api-keys", tags=["API keys"])


def _service(request: Request) -> ApiKeyService:
    service: ApiKeyService = request.app.state.api_keys
    return service


Service = Annotated[ApiKeyService, Depends(_service)]
By = Annotated[Caller, Depends(caller)]


@router.get("")
async def list_keys(service: Service, limit: Limit = 50, cursor: Cursor = None) -> Page[ApiKeyOutput]:
    """A page of keys, newest first: revoked ones too, and of none the key itself."""
    return await service.page(limit, cursor)


@router.post("", status_code=201)
async def create_key(given: ApiKeyInput, service: Service, by: By) -> NewApiKeyOutput:
    """Make a key. It is shown in this answer and never again."""
    return await service.create(given, by)


@router.delete("/{key_id}", status_code=204)
async def revoke_key(key_id: str, service: Service, by: By) -> None:
    """Revoke a key, from the next request on; 409 when it is the last valid one with the scope admin."""
    await service.revoke(key_id, by)
