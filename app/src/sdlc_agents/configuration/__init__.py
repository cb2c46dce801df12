"""configuration-api: the domains projects, apikeys, developments and events behind one address and one key check."""
