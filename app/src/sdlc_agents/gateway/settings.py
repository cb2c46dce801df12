"""Settings of the LLM gateway."""

import json
import re
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from sdlc_agents.gateway.pricing import Price
from sdlc_agents.kernel.settings import CommaList, MongoSettings, Port
from sdlc_agents.spending.budgets import Usd

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*\*?")


def _parse(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError("it is not JSON") from error


def _base_url(value: str) -> str:
    return value.rstrip("/")


def _models(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not _MODEL.fullmatch(name):
            raise ValueError(f"{name[:100]!r} is neither a model's name nor the beginning of one with * after it")
    return names


class GatewaySettings(MongoSettings):
    """`claude_api_url` is the base of any API that speaks the Messages API; the key is one of two kinds.

    `llm_gateway_prices` (JSON: model → prices in USD per million tokens, see `Price`) adds to the built-in price list
    or replaces entries of it. `llm_gateway_models` are the models that may be asked, by name or by the beginning of
    their names with `*` after it; when empty, all that have a price. `llm_gateway_job_requests` is how many requests of
    one job may be under way at once, `llm_gateway_monthly_budget_usd` what all jobs together may cost in a UTC month.
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
    llm_gateway_models: Annotated[CommaList, AfterValidator(_models)] = ()
    llm_gateway_monthly_budget_usd: Usd | None = None
    llm_gateway_job_requests: Annotated[int, Field(ge=1, le=100)] = 8
