"""The settings of jira-webhook-api."""

from pydantic import SecretStr

from sdlc_agents.kernel.settings import AmqpSettings, MongoSettings, Port, TlsServerSettings


class WebhookSettings(MongoSettings, AmqpSettings, TlsServerSettings):
    """`jira_webhook_secret_previous` is accepted too while a secret is being rotated."""

    jira_webhook_api_port: Port = 8080
    jira_webhook_secret: SecretStr
    jira_webhook_secret_previous: SecretStr | None = None
    jira_trigger_status: str = "In Development"

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The secrets that may have signed a delivery."""
        given = (self.jira_webhook_secret, self.jira_webhook_secret_previous)
        return tuple(secret.get_secret_value().encode() for secret in given if secret is not None)
