"""Claims: the message that tells of a development, and the lease under which it is worked on."""
