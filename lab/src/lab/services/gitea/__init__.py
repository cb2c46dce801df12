"""A real Gitea: built (build.py), run and filled with the repository `demo/shop` (instance.py, seed.py).

`start_local(directory)` runs one on a free loopback port, for tests of the app's forge provider.
"""

from lab.services.gitea.local import LocalGitea, start_local, stop_local

__all__ = ["LocalGitea", "start_local", "stop_local"]
