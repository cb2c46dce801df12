"""Forges: where repositories live and pull requests are opened.

`addresses` reads a repository's URL. `model` holds what every provider can do. `detection` tells which provider speaks
to a forge, and `connection` opens it. A provider (`github`, `gitlab`, `gitea`) has three modules: `client` opens pull
requests, `check` says what keeps the agents from that, `conversation` reads what was said. Providers share `calls`,
`check` and `owners`; `http_cache` keeps what GitHub need not say again. The next provider is a package beside these, a
line in `connection` and a probe in `detection`.
"""
