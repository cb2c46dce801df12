"""A receiver for what Alertmanager sends: webhooks over HTTPS and mail over SMTP; a stand-in for a team's
chat and mailbox.

It takes only the documented shape of Alertmanager's webhook (version 4) with the expected bearer token.
"""
