"""What people are told of a run: pull request, ticket, error queue."""
