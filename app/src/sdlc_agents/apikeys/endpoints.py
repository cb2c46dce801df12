"""GET and POST /api/api-keys, DELETE /api/api-keys/{id}: for keys with the scope `admin`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from sdlc_agents.apikeys.keys import Caller
from sdlc_agents.apikeys.middleware import caller
from sdlc_agents.apikeys.schemas import ApiKeyInput, ApiKeyOutput, NewApiKeyOutput
from sdlc_agents.apikeys.service import ApiKeyService

router = APIRouter(prefix="/api/api-keys", tags=["API keys"])


def _service(request: Request) -> ApiKeyService:
    service: ApiKeyService = request.app.state.api_keys
    return service


Service = Annotated[ApiKeyService, Depends(_service)]
By = Annotated[Caller, Depends(caller)]


@router.get("")
async def list_keys(service: Service) -> list[ApiKeyOutput]:
    """All keys, without the keys themselves."""
    return await service.list()


@router.post("", status_code=201)
async def create_key(given: ApiKeyInput, service: Service, by: By) -> NewApiKeyOutput:
    """Make a key. It is shown in this answer and never again."""
    return await service.create(given, by)


@router.delete("/{key_id}", status_code=204)
async def revoke_key(key_id: str, service: Service, by: By) -> None:
    """Revoke a key, from the next request on."""
    await service.revoke(key_id, by)
