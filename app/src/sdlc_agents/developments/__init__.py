"""Developments as people see them: one activation of a ticket each, from queued to its end. Read only here."""
