"""The developer agent's consumer: from a queued development to a pull request.

Claims developments, prepares the repository, hands the work to a runner, checks what comes back, publishes it, and
tells the ticket. Holds the Git and Jira credentials; runs no code of any repository.
"""
