"""`make bench-ingest`: how fast tickets are taken, side by side with the usual implementation.

`server` runs one of the four variants as a process, `load.c` sends signed tickets to it, `growth` asks what a million
stored tickets cost, `report` writes docs/benchmarks/ingest.md and its plots. `__main__` is the order of things.
"""
