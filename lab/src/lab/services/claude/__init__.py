"""A stand-in for Anthropic's Messages API: it plays scripts, and refuses what the real one would.

Run it with `python -m lab.services.claude --port N --api-key-file F`, or in a test use
`lab.services.claude.server.build(key)`. A marker in the prompt chooses the script, see scenarios.py.
"""
