"""Which rights the database user of each service has: those of the code that runs under it, and no other.

The roles in group_vars/all/mongodb.yml say the same for Ansible; a test keeps the two equal. A service that is given
another repository gets its rights here and there, or its tests fail: they run with exactly these.
"""

from collections.abc import Mapping

from sdlc_agents.apikeys import repository as apikeys
from sdlc_agents.audit import repository as audit
from sdlc_agents.consumer.claims import repository as claims
from sdlc_agents.consumer.run import repository as runs
from sdlc_agents.developments import repository as developments
from sdlc_agents.events import repository as events
from sdlc_agents.gateway import repository as gateway
from sdlc_agents.kernel import encryption
from sdlc_agents.kernel.rights import Rights, together
from sdlc_agents.migrations import schema
from sdlc_agents.mongodb_exporter import collector
from sdlc_agents.projects import reader
from sdlc_agents.projects import repository as projects
from sdlc_agents.reviews import repository as reviews
from sdlc_agents.spending import repository as spending
from sdlc_agents.webhooks import repository as webhooks
from sdlc_agents.webhooks import triggers

USERS: Mapping[str, Rights] = {
    "webhook": together(webhooks.RIGHTS, triggers.RIGHTS, schema.RIGHTS_TO_CHECK),
    # `sdlc-agents api-keys` and `rewrap-keys` run in its container.
    "configuration": together(
        apikeys.RIGHTS,
        audit.RIGHTS_TO_READ,
        audit.RIGHTS_TO_RECORD,
        developments.RIGHTS,
        encryption.RIGHTS_TO_REWRAP,
        events.RIGHTS,
        projects.RIGHTS_TO_CHANGE,
        projects.RIGHTS_TO_ASK_FOR_CHECKS,
        schema.RIGHTS_TO_CHECK,
    ),
    "consumer": together(
        claims.RIGHTS,
        encryption.RIGHTS,
        projects.RIGHTS_TO_ANSWER_CHECKS,
        reader.RIGHTS,
        reviews.RIGHTS,
        runs.RIGHTS_TO_JOBS,
        runs.RIGHTS_TO_TRANSCRIPTS,
        spending.RIGHTS_TO_READ,
    ),
    "gateway": together(gateway.RIGHTS, spending.RIGHTS_TO_READ, spending.RIGHTS_TO_ADD),
    "exporter": collector.RIGHTS,
    # Shapes the database; nothing that serves anybody runs under it.
    "migrate": together(
        schema.RIGHTS_TO_MIGRATE, encryption.RIGHTS_TO_MAKE_KEY, apikeys.RIGHTS, audit.RIGHTS_TO_RECORD
    ),
}
"""By the user's name."""
