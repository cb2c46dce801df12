"""API keys: who may call the configuration API, and how far.

A key is shown once, when it is made; the database keeps its SHA-256. That is enough here: a slow hash (argon2, scrypt)
makes guessing dear where people choose from few passwords; a key is 256 random bits, which nobody guesses at any speed,
and it is looked up by its hash at every request.

`middleware` lets a request in, `usage` notes when a key was used, `repository` keeps the keys, `service` makes and
revokes them, `endpoints` and `commands` (`sdlc-agents api-keys`) are the two ways to it.
"""
