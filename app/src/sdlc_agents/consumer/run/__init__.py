"""One run: its limits and prompt, the runner that works on it, and what becomes of the result."""
