"""The configuration API as an OpenAPI 3.1 document: https://spec.openapis.org/oas/v3.1.0

FastAPI knows routes, parameters and models. Here comes what it does not know: the key and how far it must reach, the
errors as this service answers them, and examples.
"""

import re
from typing import Any, cast

import orjson
from fastapi import FastAPI
from fastapi.routing import APIRoute

from sdlc_agents import __version__
from sdlc_agents.apikeys.middleware import required_scope
from sdlc_agents.configuration.examples import EXAMPLES
from sdlc_agents.configuration.routes import ROUTERS

Document = dict[str, Any]

_DESCRIPTION = """\
Projects and their repositories, developments, webhook events, API keys and the audit log. Internal: the appliance's
web server does not publish it.

Every request carries an API key in `X-API-Key`. A key's scopes hold one another: `admin` may do what `write` may, and
`write` what `read` may. Dates are RFC 3339; those in answers are UTC. Errors are `{"error": …}`, and a 400 names the
field. A method that a path does not know is answered 405 with `Allow`. Every answer carries `X-Request-ID`, the
caller's own where it was sent (8 to 64 letters, digits, `.`, `_`, `-`), by which the log is searched."""

_PAGE_OF = re.compile(rb"Page_(\w+)Output_")
_CONFLICTS = {
    "create_project",
    "update_project",
    "add_repository",
    "delete_repository",
    "retry_development",
    "cancel_development",
    "revoke_key",
}
_SUCCESSES = {"200": "As asked for", "201": "Made", "202": "Begun", "204": "Done"}
_ERRORS: dict[int, tuple[str, str, str]] = {
    400: (
        "BadRequest",
        "The request cannot be understood",
        "repositories.0.url: must be a URL that begins with https://",
    ),
    401: ("Unauthorized", "No API key was sent", "API key required"),
    403: ("Forbidden", "The key is unknown, revoked or expired, or its scope does not reach", "invalid API key"),
    404: ("NotFound", "There is no such thing", "there is no such project"),
    409: (
        "Conflict",
        "Another thing of this name, or another state, stands in the way",
        "jira_project_key: there is a project for SHOP already",
    ),
    412: (
        "PreconditionFailed",
        "The project was changed since the caller last saw it",
        "the project was changed meanwhile and has revision 4 now: get it again, then change it",
    ),
    413: ("PayloadTooLarge", "The body is larger than 1 MiB", "the body is larger than 1048576 bytes"),
    503: ("Unavailable", "The database is away", "the database is not available"),
}


def document() -> Document:
    """The document, complete."""
    app = FastAPI(
        title="Configuration API",
        version=__version__,
        description=_DESCRIPTION,
        generate_unique_id_function=_operation_id,
        separate_input_output_schemas=False,
    )
    for router in ROUTERS:
        app.include_router(router)
    made = cast("Document", orjson.loads(_PAGE_OF.sub(rb"\1Page", orjson.dumps(app.openapi()))))
    components = made["components"]
    schemas = components["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Error"] = {
        "type": "object",
        "description": "What went wrong, in a sentence.",
        "required": ["error"],
        "properties": {"error": {"type": "string"}},
        "examples": [{"error": "there is no such project"}],
    }
    for name, example in EXAMPLES.items():
        for model, value in ((name, example), (_page_of(name), {"items": [example], "next_cursor": None})):
            if model in schemas:
                schemas[model]["examples"] = [value]
    components["responses"] = {name: _error(*told) for name, *told in _ERRORS.values()}
    components["responses"]["Unavailable"]["headers"] = {
        "Retry-After": {"description": "Seconds to wait before the next try", "schema": {"type": "integer"}}
    }
    components["securitySchemes"] = {
        "ApiKey": {
            "type": "apiKey",
            "in": "header",
            "name": "X-API-Key",
            "description": "Of scope read, write or admin.",
        }
    }
    made["security"] = [{"ApiKey": []}]
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            _complete(operation, method.upper(), path)
    return made


def _complete(operation: Document, method: str, path: str) -> None:
    scope = required_scope(method, path)
    operation["description"] = f"{operation.get('description', '')}\n\nScope: `{scope}`.".strip()
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _without_null(parameter["schema"])
    possible = {400, 401, 403, 503}
    if "{" in path:
        possible.add(404)
    if method not in {"GET", "DELETE"}:
        possible.add(413)
    if operation["operationId"] in _CONFLICTS:
        possible.add(409)
    if any(parameter["name"] == "If-Match" for parameter in operation.get("parameters", ())):
        possible.add(412)
    responses = operation["responses"]
    responses.pop("422", None)
    for success, description in _SUCCESSES.items():
        if responses.get(success, {}).get("description") == "Successful Response":
            responses[success]["description"] = description
    for status in sorted(possible):
        responses[str(status)] = {"$ref": f"#/components/responses/{_ERRORS[status][0]}"}


def _without_null(schema: Document) -> Document:
    """A parameter's schema: one that is None in Python was not sent, there is no way to send null."""
    given = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(given) != 1:
        return schema
    return {**{name: value for name, value in schema.items() if name != "anyOf"}, **given[0]}


def _error(description: str, example: str) -> Document:
    content = {"schema": {"$ref": "#/components/schemas/Error"}, "example": {"error": example}}
    return {"description": description, "content": {"application/json": content}}


def _page_of(name: str) -> str:
    return name.removesuffix("Output") + "Page"


def _operation_id(route: APIRoute) -> str:
    return route.name
