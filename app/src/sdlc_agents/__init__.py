"""The services of the SDLC agents appliance: from a Jira ticket to a pull request.

Every package below is one domain; the modules beside it are what all domains share. A service starts with
`sdlc-agents <service>` (see `sdlc_agents.commands.cli`).
"""

__version__ = "0.1.0"
