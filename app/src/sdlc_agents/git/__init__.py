"""git as a subprocess, for repositories that nobody here trusts."""
