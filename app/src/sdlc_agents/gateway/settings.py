"""Settings of the LLM gateway."""

import json
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from sdlc_agents.gateway.pricing import Price
from sdlc_agents.settings import MongoSettings, Port


def _parse(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError("it is not JSON") from error


def _base_url(value: str) -> str:
    return value.rstrip("/")


class GatewaySettings(MongoSettings):
    """`claude_api_url` is the base of any API that speaks the Messages API; the key is one of two kinds.

    `llm_gateway_prices` (JSON: model → prices in USD per million tokens, see `Price`) adds to the built-in price list
    or replaces entries of it. `llm_gateway_job_requests` is how many requests of one job may be under way at once.
    """

    exactly_one_of: ClassVar[tuple[tuple[str, ...], ...]] = (("anthropic_api_key", "claude_code_session_token"),)

    llm_gateway_port: Port = 8083
    claude_api_url: Annotated[str, Field(pattern=r"^https?://[^\s/@?#]+(/[^\s?#]*)?$"), AfterValidator(_base_url)] = (
        "https://api.anthropic.com"
    )
    anthropic_api_key: SecretStr | None = None
    claude_code_session_token: SecretStr | None = None
    egress_proxy_url: str | None = None
    extra_ca_file: Path | None = None
    llm_gateway_prices: Annotated[dict[str, Price], BeforeValidator(_parse)] = Field(default={})
    llm_gateway_job_requests: Annotated[int, Field(ge=1, le=100)] = 8
