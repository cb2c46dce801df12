"""Where people call the configuration API."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ConfigurationApi:
    """Where people call the configuration API; without its public `url` they are told the path alone."""

    url: str = ""

    def link(self, text: str, path: str) -> str:
        """Markdown."""
        return f"[{text}]({self._at(path)})" if self.url else f"{text}, `{path}` of the configuration API"

    def call(self, method: str, path: str) -> str:
        """A request in plain text."""
        return f"{method} {self._at(path)}" if self.url else f"{method} {path} of the configuration API"

    def _at(self, path: str) -> str:
        return f"{self.url.rstrip('/')}{path}"


def development_path(development_id: str, what: str) -> str:
    """The path of something about a development."""
    return f"/api/developments/{development_id}/{what}"
