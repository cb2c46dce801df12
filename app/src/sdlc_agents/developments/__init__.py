"""Developments as people see and steer them: one activation of a ticket each, from queued to its end.

The consumer does the work and owns what it writes under its lease; here, an ended development is queued again, a queued
one is cancelled, and a running one is asked to stop, which its consumer sees.
"""
