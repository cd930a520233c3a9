from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e_processes import PATIENCE, assert_nothing_left, start, wait_for_worker

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("cached_demo")]

REPOSITORY = Path(__file__).parents[2]
QUESTION = "Can you tell me what the temperature will be in Dallas, in fahrenheit?"


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str


def ask(*arguments: str, cwd: Path = REPOSITORY) -> Ran:
    """Run `toolchat ask --model demo` to its end; nothing of it may be left then."""
    process = start("ask", "--model", "demo", *arguments, cwd=cwd)
    worker = wait_for_worker(process.pid)
    out, err = process.communicate(timeout=PATIENCE)
    assert_nothing_left(process.pid, worker)
    return Ran(process.returncode, out.decode(), err.decode())


# `make test` has it with a kept engine, in test_e2e_kept.py; and that one that is not kept leaves nothing, of an image.
@pytest.mark.slow
def test_the_main_job_a_question_a_call_and_an_answer_from_its_result() -> None:
    ran = ask("--tools", "tools.yaml", QUESTION)
    assert ran.code == 0, ran
    assert "85" in ran.out
    assert "fahrenheit" in ran.out.lower()
    assert "Dallas" in ran.out
    assert "→" not in ran.out
    call, *result = ran.err.splitlines()
    assert call == '→ get_current_weather(city="Dallas", state="TX", unit="fahrenheit")'
    assert result == [
        "  ✓ The weather in Dallas, TX is 85 degrees fahrenheit. It is partly cloudy, with highs in the 90's."
    ]


@pytest.mark.slow
def test_a_greeting_is_answered_without_a_call_in_a_folder_without_tools(tmp_path: Path) -> None:
    ran = ask("hi", cwd=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.strip()
    assert ran.out.endswith("\n")
