"""The settings of configuration-api."""

from sdlc_agents.settings import EncryptionSettings, MongoSettings, Port, TlsServerSettings


class ConfigurationSettings(MongoSettings, EncryptionSettings, TlsServerSettings):
    """It needs the field key to encrypt tokens; nothing here decrypts them."""

    configuration_api_port: Port = 8081
