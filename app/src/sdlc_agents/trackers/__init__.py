"""Trackers: where tickets live and are told what became of them."""
