"""`sdlc-agents <command>`: the entry point, and the tools beside the services."""
