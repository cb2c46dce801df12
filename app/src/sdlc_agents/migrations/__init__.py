"""The database's shape: indexes and validators as code, brought about by `sdlc-agents migrate`.

`collections` says how each collection is to look and `steps` what a version changes in documents; `schema` brings the
database there and keeps its version. Forward only: a database that a newer release has migrated is refused.
"""
