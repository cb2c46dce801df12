"""Outside services of the lab: a real Gitea, and stand-ins for Claude, Jira, a log store and alert receivers.

See README.md. `lab.services.container.up()` has them all answer.
"""

SERVICES_ADDRESS = "10.212.0.5"
"""Where all of them are, on the lab's network."""
