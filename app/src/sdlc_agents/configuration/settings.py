"""The settings of configuration-api."""

from sdlc_agents.kernel.settings import EncryptionSettings, MongoSettings, Port, TlsServerSettings
from sdlc_agents.projects.schemas import Trigger


class ConfigurationSettings(MongoSettings, EncryptionSettings, TlsServerSettings):
    """It needs the field key to encrypt tokens; nothing here decrypts them.

    `jira_trigger_status` is the webhook API's: no project may have its tickets moved to what starts a development.
    """

    configuration_api_port: Port = 8081
    jira_trigger_status: str = Trigger().status
