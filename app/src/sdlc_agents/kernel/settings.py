"""Settings from the environment, where every value may also come from a file.

A field `mongo_url` is read from `MONGO_URL`, or from the file that `MONGO_URL_FILE` names (the convention of the
official Docker images; a trailing newline is dropped). Both at once is an error, an empty value counts as missing.
Services call `load_settings`, which names everything that is missing or wrong in one line and ends with status 78
(EX_CONFIG of sysexits.h).
"""

import base64
import binascii
import os
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NoReturn, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

EX_CONFIG = 78
MASTER_KEY_BYTES = 96

Port = Annotated[int, Field(ge=1, le=65535)]


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part for part in (piece.strip() for piece in value.split(",")) if part)
    return value


CommaList = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""A tuple of strings, written in the environment with commas between them."""


class EnvironmentOrFileSource(PydanticBaseSettingsSource):
    """Reads each field from `NAME` or from the file named by `NAME_FILE`; `problems` tells what could not be read."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        self.problems: dict[str, str] = {}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The field's raw text (None when it is not set), its key, and False: nothing here is JSON."""
        del field
        name = field_name.upper()
        direct = os.environ.get(name) or None
        file = os.environ.get(f"{name}_FILE") or None
        if direct is not None and file is not None:
            self.problems[field_name] = f"both {name} and {name}_FILE are set"
            return None, field_name, False
        if file is None:
            return direct, field_name, False
        try:
            content = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            self.problems[field_name] = f"the file {file} cannot be read: {reason}"
            return None, field_name, False
        return content or None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """All fields that are set."""
        values: dict[str, Any] = {}
        for field_name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, field_name)
            if value is not None:
                values[key] = value
        return values


class ServiceSettings(BaseSettings):
    """What every service has: logs and metrics. Frozen; secrets are `SecretStr`.

    `exactly_one_of` names groups of fields of which exactly one must be set.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    exactly_one_of: ClassVar[tuple[tuple[str, ...], ...]] = ()

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    enable_metrics: bool = True
    metrics_port: Port = 9090

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Values given in the call, then the environment and its files; nothing else."""
        del env_settings, dotenv_settings, file_secret_settings
        return init_settings, EnvironmentOrFileSource(settings_cls)


class MongoSettings(ServiceSettings):
    """Where the database is. The URL carries user and password, `replicaSet` and `tls=true`."""

    mongo_url: SecretStr
    mongo_database: str = "sdlc_agent"
    mongo_tls_ca_file: Path | None = None


class AmqpSettings(ServiceSettings):
    """Where the broker is: `amqps://user:password@host:5671/vhost`."""

    rabbitmq_url: SecretStr
    rabbitmq_tls_ca_file: Path | None = None


def _master_key(value: SecretStr) -> SecretStr:
    try:
        size = len(base64.b64decode(value.get_secret_value(), validate=True))
    except (binascii.Error, ValueError):
        raise ValueError("must be base64") from None
    if size != MASTER_KEY_BYTES:
        raise ValueError(f"must be {MASTER_KEY_BYTES} bytes in base64, not {size}")
    return value


MasterKey = Annotated[SecretStr, AfterValidator(_master_key)]


class EncryptionSettings(ServiceSettings):
    """The local master key of field-level encryption: 96 bytes in base64. The previous one is read with as well."""

    field_encryption_key: MasterKey
    field_encryption_key_previous: MasterKey | None = None


class TlsServerSettings(ServiceSettings):
    """An API that serves HTTPS when both files are given, HTTP otherwise."""

    tls_certificate_file: Path | None = None
    tls_private_key_file: Path | None = None


_Settings = TypeVar("_Settings", bound=ServiceSettings)


def load_settings(cls: type[_Settings]) -> _Settings:
    """The settings of a service from its environment, or the end of the process.

    Prints one line to standard error naming every variable that is missing or wrong (never a value) and exits 78.
    """
    source = EnvironmentOrFileSource(cls)
    values = source()
    problems = {_name(field): reason for field, reason in source.problems.items()}
    missing: list[str] = []
    settings: _Settings | None = None
    try:
        settings = cls(**values)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False, include_context=False):
            name = _name(detail["loc"][0]) if detail["loc"] else cls.__name__
            if name in problems:
                continue
            if detail["type"] == "missing":
                missing.append(name)
            else:
                problems[name] = str(detail["msg"]).removeprefix("Value error, ")
    for group in cls.exactly_one_of:
        names = [_name(field) for field in group]
        given = [name for field, name in zip(group, names, strict=True) if field in values]
        if len(given) > 1:
            problems[" and ".join(given)] = "only one of them may be set"
        elif not given and not any(name in problems for name in names):
            missing.append(" or ".join(names))
    if settings is None or missing or problems:
        _end(missing, problems)
    return settings


def public_values(settings: BaseModel) -> dict[str, object]:
    """The settings as they may be logged: secrets are left out, not masked."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in settings
        if value is not None and not isinstance(value, SecretStr)
    }


def _name(field: object) -> str:
    return str(field).upper()


def _end(missing: list[str], problems: dict[str, str]) -> NoReturn:
    parts = []
    if missing:
        parts.append(f"missing: {', '.join(missing)}")
    if problems:
        parts.append("wrong: " + "; ".join(f"{name} ({reason})" for name, reason in problems.items()))
    line = " | ".join(parts).replace("\n", " ")
    print(f"sdlc-agents: configuration error | {line}", file=sys.stderr, flush=True)  # noqa: T201
    raise SystemExit(EX_CONFIG)
