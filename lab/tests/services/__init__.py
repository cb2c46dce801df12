"""Tests of the stand-ins: they refuse what the real services refuse, and more."""
