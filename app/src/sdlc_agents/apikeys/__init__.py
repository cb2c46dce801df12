"""API keys: who may call the configuration API, and how far.

A key is shown once, when it is made; the database keeps its SHA-256 (keys are random, so nothing slower is needed).
`middleware` lets a request in, `repository` keeps the keys, `endpoints` manages them.
"""
