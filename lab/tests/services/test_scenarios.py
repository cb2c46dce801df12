"""The default script does the shop's ticket, on the shop as it is seeded; every script ends but one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab.services.claude.conversation import Conversation, Step, read
from lab.services.claude.scenarios import SCRIPTS, Turn, play
from lab.services.gitea import seed

SHOP = Path(seed.__file__).with_name("shop")
TOOLS = frozenset({"Bash", "Read", "Edit", "Write"})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for path in SHOP.rglob("*.txt"):
        target = tmp_path / str(path.relative_to(SHOP)).removesuffix(".txt")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path.read_text())
    return tmp_path


def _use(turn: Turn, tree: Path) -> str:
    """What Claude Code's tools do, as far as the scripts use them."""
    arguments = turn.arguments
    if turn.tool == "Bash":
        command = arguments["command"].replace("python3", sys.executable)
        done = subprocess.run(
            ["bash", "-c", command], cwd=tree, capture_output=True, text=True, check=False, timeout=60
        )
        return done.stdout + done.stderr
    path = Path(arguments["file_path"])
    if turn.tool == "Read":
        return path.read_text()
    if turn.tool == "Write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(arguments["content"])
    else:
        before = path.read_text()
        assert before.count(arguments["old_string"]) == 1
        path.write_text(before.replace(arguments["old_string"], arguments["new_string"]))
    return "done"


def _finish(prompt: str, tree: Path, limit: int = 20) -> tuple[str, list[str]]:
    """Play to the end; the last words and the tools used."""
    steps: list[Step] = []
    while len(steps) < limit:
        turn = play(Conversation(prompt, TOOLS, tuple(steps), "test", 1))
        if not turn.tool:
            return turn.text, [step.tool for step in steps]
        steps.append(Step(turn.tool, _use(turn, tree), failed=False))
    raise AssertionError("the script did not end")


def test_the_default_script_adds_the_discount_and_its_tests_pass(tree: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)
    subprocess.run(["git", "add", "--all"], cwd=tree, check=True)
    text, tools = _finish("SHOP-1: ten percent off", tree)
    assert tools == ["Bash", "Read", "Edit", "Write", "Bash"]
    assert "The tests pass." in text
    assert "def discounted_total" in (tree / "src/shop/cart.py").read_text()


def test_a_second_ticket_on_a_shop_with_discounts_changes_something_else(tree: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)
    subprocess.run(["git", "add", "--all"], cwd=tree, check=True)
    _finish("SHOP-1: ten percent off", tree)
    text, _ = _finish("SHOP-2: more", tree)
    assert "The tests pass." in text
    assert (tree / "notes/SHOP-2.md").is_file()


def test_a_tree_that_no_script_knows_gets_a_note(tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    text, tools = _finish("ABC-7: anything", tmp_path)
    assert tools == ["Bash", "Read", "Write", "Bash"]
    assert (tmp_path / "notes/ABC-7.md").is_file()
    assert "The tests pass." in text


def test_an_empty_tree_gets_a_note(tmp_path: Path) -> None:
    _, tools = _finish("ABC-8: anything", tmp_path)
    assert tools == ["Bash", "Write", "Bash"]


def test_broken_tests_are_not_called_passed(tree: Path) -> None:
    (tree / "tests/test_broken.py").write_text("raise RuntimeError\n")
    text, _ = _finish("SHOP-1: ten percent off", tree)
    assert "could not" in text


def test_the_bash_script_reports_what_the_command_printed(tmp_path: Path) -> None:
    text, _ = _finish("[[lab:bash]]\n```sh\necho $((6 * 7))\n```\n", tmp_path)
    assert "42" in text


def test_the_repair_script_runs_the_next_block_each_time_that_it_is_asked() -> None:
    prompt = "[[lab:repair]]\n```sh\necho first\n```\n```sh\necho second\n```\n"
    commands = []
    for ends in range(2):
        steps = [Step("Bash", "", failed=False)] * ends
        turn = play(Conversation(prompt, TOOLS, tuple(steps), "test", 1, ends))
        commands.append(turn.arguments["command"])
        steps.append(Step("Bash", "", failed=False))
        assert not play(Conversation(prompt, TOOLS, tuple(steps), "test", 1, ends)).tool
    assert commands == ["echo first", "echo second"]


def test_a_tool_that_is_not_on_offer_is_asked_for_only_when_the_marker_says_so() -> None:
    block = "\n```sh\ntrue\n```\n"
    offered = frozenset({"Read", "Edit"})
    assert not play(Conversation(f"[[lab:bash]]{block}", offered, (), "test", 1)).tool
    assert play(Conversation(f"[[lab:bash anyway=1]]{block}", offered, (), "test", 1)).tool == "Bash"
    assert play(Conversation("[[lab:tools]]", offered, (), "test", 1)).text == "On offer: Edit Read"


def test_a_conversation_knows_how_often_the_model_came_to_an_end() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": ""}
    messages = [
        {"role": "user", "content": "do it"},
        {"role": "assistant", "content": [{"type": "text", "text": "I will"}, call]},
        {"role": "user", "content": [result]},
        {"role": "assistant", "content": "done"},
        {"role": "user", "content": "once more"},
    ]
    assert read({"messages": messages[:3]}).ends == 0
    assert read({"messages": messages}).ends == 1


def test_the_big_script_leaves_a_file_of_that_size(tmp_path: Path) -> None:
    _finish("[[lab:big mib=2]]", tmp_path)
    assert (tmp_path / "big.bin").stat().st_size == 2 * 1024 * 1024


def test_the_endless_script_does_not_end(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        _finish("[[lab:endless]]", tmp_path, limit=50)


def test_every_script_is_documented() -> None:
    documented = sys.modules[play.__module__].__doc__ or ""
    assert all(f"`{name}" in documented for name in SCRIPTS)


def test_the_last_marker_of_the_prompt_counts_and_reminders_do_not() -> None:
    conversation = read(
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "<system-reminder>[[lab:endless]]</system-reminder>"},
                        {"type": "text", "text": "[[lab:big mib=3]] then [[lab:slow seconds=2]]"},
                        {"type": "text", "text": "<system-reminder>[[lab:cut]]</system-reminder>"},
                    ],
                }
            ]
        }
    )
    assert conversation.marker.name == "slow"
    assert conversation.marker.number("seconds", 5) == 2
