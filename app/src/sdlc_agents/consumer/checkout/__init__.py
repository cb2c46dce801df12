"""The repository's way to a runner and back: fetch, survey, lend, inspect, push."""
