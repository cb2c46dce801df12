"""Developments: one activation of a ticket each, from queued to its end.

`model` says what a development is and how it begins, `changes` what may happen to it: whoever writes one, writes it
through these two. The rest is what people see and steer by the API: an ended development is queued again, a queued one
is cancelled, and a running one is asked to stop, which its consumer sees.
"""
