from __future__ import annotations

import json

import pytest
from cli_program import Program
from test_cli_small_commands import HEAVY, modules_of

from toolchat.cli.doctor import _settings, rows
from toolchat.models.health import guarded
from toolchat.ui.text.cells import width_of


def test_a_line_and_its_remedy_fit_forty_columns() -> None:
    found = rows("✗ ", "the hub does not take the token in /home/somebody/.cache/huggingface/token", "make one", 40)
    assert all(width_of(row) <= 40 for row in found)
    assert found[0].startswith("✗ the hub")
    assert all(row.startswith("  ") for row in found[1:])
    assert found[-1] == "  → make one"


@pytest.mark.process
def test_doctor_tells_one_object_to_scripts_and_imports_nothing_heavy(toolchat: Program) -> None:
    modules = modules_of(toolchat, "doctor", "--offline", "--json")
    assert {name.partition(".")[0] for name in modules} & HEAVY == set()
    ran = toolchat("doctor", "--offline", "--json")
    told = json.loads(ran.out)
    assert set(told) == {"version", "state", "checks"}
    assert {"python", "vllm", "cores", "memory", "shm", "gpu", "hub", "tools", "state", "terminal"} <= {
        check["name"] for check in told["checks"]
    }
    assert all(set(check) == {"name", "state", "text", "remedy"} for check in told["checks"])
    assert ran.code == (1 if told["state"] == "problem" else 0)


@pytest.mark.process
def test_doctor_ends_with_1_where_the_tools_file_is_not_accepted_and_shows_no_control_characters(
    toolchat: Program,
) -> None:
    (toolchat.folder / "tools.yaml").write_text("version: 1\ntools:\n  - callable: mine:f\n")
    (toolchat.folder / "mine.py").write_text("def f() -> int:\n    return 1\n")
    ran = toolchat("doctor", "--offline", variables={"HF_HOME": "/tmp/\x1b[31mred"})
    assert ran.code == 1
    assert "problem: " in ran.out
    assert "accept it with: toolchat tools trust" in " ".join(ran.out.split())
    assert "\x1b" not in ran.out


@pytest.mark.parametrize(
    ("variables", "state", "words"),
    [
        ({"TOOLCHAT_ENGINE_ARG": "kv_cache_dtype=fp8"}, "ok", "vLLM is given kv_cache_dtype too"),
        ({"TOOLCHAT_ENGINE_ARG": "max_model_len=1"}, "problem", "--engine-arg max_model_len"),
        ({"TOOLCHAT_LORA": "mine=/nowhere"}, "problem", "--lora mine=/nowhere: /nowhere is no folder"),
        ({"TOOLCHAT_SEED": "x"}, "problem", "TOOLCHAT_SEED: expected a whole number"),
    ],
)
def test_doctor_tells_of_settings_that_no_engine_would_take(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], state: str, words: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    check = guarded("settings", _settings)[-1]
    assert check.state == state
    assert words in check.text
