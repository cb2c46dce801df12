"""Projects as an operator registers them."""

from typing import Any

TOKEN = "glpat-abcdefghijklmnop1234"


def repository(**fields: Any) -> dict[str, Any]:
    """A repository."""
    return {
        "repository_id": "storefront",
        "url": "https://git.example.com/shop/storefront",
        "description": "What customers see",
        "git_access_token": TOKEN,
        "base_branch": "main",
        **fields,
    }


def project(**fields: Any) -> dict[str, Any]:
    """A project with one repository."""
    return {
        "name": "Web shop",
        "description": "The shop",
        "scope": "Bugs and small features",
        "jira_project_key": "SHOP",
        "jira_project_name": "Web shop",
        "jira_project_url": "https://example.atlassian.net/browse/SHOP",
        "repositories": [repository()],
        **fields,
    }
