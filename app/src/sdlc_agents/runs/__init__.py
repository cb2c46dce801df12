"""What consumer, runner and gateway share of a run: the protocol, the tokens' digests, figures and harmless text."""
