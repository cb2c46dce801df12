"""The plugin with the fixtures that tests of more than one folder use; tests/conftest.py registers it.

A fixture is defined once. A folder's conftest has what that folder alone uses, or its own kind of a fixture from here.
"""

pytest_plugins = ("plugin.agents", "plugin.configuration", "plugin.databases")
