"""What each payload of `fixtures/` must come to, for the trigger status `In Development`.

`ACCEPTED` states fields of the delivery, `IGNORED` the payloads of each reason, `REFUSED` the error. A fixture that
stands in none of them fails the tests.
"""

from typing import Any

from sdlc_agents.webhooks.payload import Component

CLOUD: dict[str, Any] = {
    "event_type": "jira:issue_updated",
    "jira_issue_id": "10042",
    "jira_issue_key": "SHOP-17",
    "jira_project_key": "SHOP",
    "summary": "Total is wrong for more than 9 items",
    "description": (
        "The *total* is wrong when the basket holds more than 9 items.\r\n\r\n# open the basket\r\n# add ten items"
    ),
    "status": "In Development",
    "previous_status": "Selected for Development",
    "components": (Component("storefront", "https://git.example.com/shop/storefront"),),
}
DATA_CENTER: dict[str, Any] = {
    "event_type": "jira:issue_updated",
    "jira_issue_id": "30107",
    "jira_issue_key": "KASSE_NORD-8",
    "jira_project_key": "KASSE_NORD",
    "summary": "Bon ohne €-Zeichen",
    "description": ('Auf dem Bon fehlt das Zeichen €.\n{code:java}\nSystem.out.println("€");\n{code}\nGrüße — 東京 🧾'),
    "status": "In Development",
    "previous_status": "Zu erledigen",
    "components": (Component("Bondrucker", ""),),
}

ACCEPTED: dict[str, dict[str, Any]] = {
    "cloud_issue_updated": CLOUD,
    "cloud_issue_assigned_while_moved": CLOUD,
    "cloud_issue_work_started": CLOUD,
    "cloud_issue_updated_in_bulk": CLOUD,
    "cloud_issue_updated_unknown_fields": CLOUD,
    "cloud_issue_updated_with_comment": CLOUD,
    "cloud_issue_updated_without_changelog": CLOUD | {"previous_status": None},
    "cloud_issue_moved_to_project": CLOUD | {"previous_status": "Offen"},
    "cloud_issue_reopened_into_development": CLOUD | {"previous_status": "Done"},
    "cloud_issue_created_in_development": CLOUD | {"event_type": "jira:issue_created", "previous_status": None},
    "cloud_issue_updated_adf": CLOUD
    | {
        "description": (
            "## What happens\n\n"
            "The **total** is wrong, see [the report](https://example.com/report).\n\n"
            "- open the basket\n- add ten items\n\n"
            "```python\nassert total(basket) == 42\n```"
        )
    },
    "cloud_issue_updated_adf_of_many_kinds": CLOUD
    | {
        "summary": "Summe stimmt nicht — 合計",
        "description": (
            "@Ada Lovelace bitte bis 2026-03-04 🚀\n\n"
            "> Nur auf `main`\n\n"
            "| **Menge** | **Summe** |\n| --- | --- |\n| 10 | € 42 |\n\n"
            "- [x] nachgestellt\n- [ ] behoben\n\n"
            "**Protokoll**\n\n```text\n東京: ValueError\n```\n\n"
            "[attachment Bon.png]\n\n"
            "<https://example.atlassian.net/browse/SHOP-3>"
        ),
    },
    "cloud_issue_updated_without_description": CLOUD | {"description": "", "components": ()},
    "cloud_issue_updated_few_fields": CLOUD | {"description": "", "components": ()},
    "cloud_issue_updated_opaque_keys": CLOUD
    | {"jira_issue_id": "issue_00-A", "jira_issue_key": "_x-9_Z--4", "jira_project_key": "_x-9_Z-"},
    "data_center_issue_updated": DATA_CENTER,
    "data_center_issue_moved": DATA_CENTER,
    "data_center_issue_custom_event": DATA_CENTER,
    "data_center_issue_created_in_development": DATA_CENTER
    | {"event_type": "jira:issue_created", "previous_status": None},
    "data_center_post_function": DATA_CENTER | {"event_type": "workflow_post_function"},
    "data_center_post_function_with_comment": DATA_CENTER
    | {"event_type": "workflow_post_function", "previous_status": None},
}

IGNORED: dict[str, list[str]] = {
    "this kind of event starts nothing": [
        *("cloud_issue_deleted", "data_center_issue_deleted"),
        *(f"cloud_comment_{verb}" for verb in ("created", "created_without_issue", "updated", "deleted")),
        *(f"data_center_comment_{verb}" for verb in ("created", "updated", "deleted")),
        *(f"cloud_worklog_{verb}" for verb in ("created", "updated", "deleted")),
        "data_center_worklog_created",
        *("data_center_issue_work_logged", "data_center_issue_worklog_updated", "data_center_issue_worklog_deleted"),
        *("cloud_attachment_created", "cloud_attachment_deleted"),
        *("cloud_issuelink_created", "cloud_issuelink_deleted", "data_center_issuelink_created"),
        *("cloud_issue_property_set", "cloud_issue_property_deleted"),
        *(f"cloud_issuetype_{verb}" for verb in ("created", "updated", "deleted")),
        *(f"cloud_project_{verb}" for verb in ("created", "updated", "deleted", "archived", "restored_archived")),
        *("cloud_project_soft_deleted", "cloud_project_restored_deleted", "data_center_project_updated"),
        *(f"cloud_version_{verb}" for verb in ("created", "released", "unreleased", "moved", "updated", "deleted")),
        *("cloud_version_merged", "data_center_version_released"),
        *(f"cloud_filter_{verb}" for verb in ("created", "updated", "deleted")),
        *(f"cloud_user_{verb}" for verb in ("created", "updated", "deleted")),
        "data_center_user_created",
        *(f"cloud_option_{name}_changed" for name in ("voting", "watching", "unassigned_issues", "subtasks")),
        *(f"cloud_option_{name}_changed" for name in ("issuelinks", "timetracking", "timetracking_provider")),
        "data_center_option_attachments_changed",
        *(f"cloud_sprint_{verb}" for verb in ("created", "updated", "started", "closed", "deleted")),
        "data_center_sprint_started",
        *(f"cloud_board_{verb}" for verb in ("created", "updated", "deleted", "configuration_changed")),
        "cloud_jira_expression_evaluation_failed",
    ],
    "the issue is not in the trigger status": [
        *("cloud_issue_created", "cloud_issue_updated_to_done", "cloud_issue_resolved", "cloud_issue_closed"),
        *("data_center_issue_created", "data_center_issue_reopened", "data_center_issue_resolved"),
    ],
    "the event did not move the issue to the trigger status": [
        *("cloud_issue_updated_summary_only", "cloud_issue_updated_empty_changelog", "cloud_issue_assigned"),
        *("cloud_issue_updated_sprint_and_rank", "cloud_issue_moved_in_same_status", "cloud_issue_commented"),
        *("data_center_issue_assigned", "data_center_commented_without_type_name"),
        *("data_center_issue_commented", "data_center_issue_comment_edited", "data_center_issue_comment_deleted"),
        "data_center_issue_work_logged_as_update",
    ],
}

REFUSED: dict[str, str] = {
    "cloud_issue_updated_operator_as_key": "issue.key: must be 1 to 255 letters, digits, _ or -",
}
