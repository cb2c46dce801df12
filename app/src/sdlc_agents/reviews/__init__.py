"""Follow-up runs: what reviewers say on the appliance's pull requests starts another run on the same branch.

A task of the consumer looks at the pull requests (`poller`), `rules` say what starts a run, `repository` keeps for each
pull request what was handled, and `answers` tells the reviewer how the run ended.
"""
