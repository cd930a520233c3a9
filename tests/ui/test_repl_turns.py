from __future__ import annotations

from pathlib import Path

import pytest
from scripted_terminal import OpenRepl
from terminal_screen import CTRL_C, CTRL_D, ENTER

pytestmark = pytest.mark.terminal

FOREVER = 'engine = GatedEngine()\nengine.enqueue(Answer(text=["Once upon a time. ", "@forever"]), "The end.")'


def test_the_prompt_is_there_while_the_model_loads_and_what_is_sent_runs_when_it_has(
    repl: OpenRepl, folder: Path
) -> None:
    chat = repl('engine = GatedEngine(loads_late=True)\nengine.enqueue("One.", "Two.")')
    chat.wait_for("the prompt", lambda: chat.display[1].startswith("›") and "loading weights" in chat.toolbar)
    chat.press("first", ENTER, "second", ENTER, "not sent")
    chat.wait_for("both waiting", lambda: "2 queued" in chat.toolbar and chat.typed == "not sent")
    assert "… first" in chat.rows
    assert not chat.shows("One.")
    (folder / "load").touch()
    chat.wait_for_row("Two.")
    chat.wait_for("ready", lambda: " ready" in chat.toolbar)
    assert chat.typed == "not sent"
    assert chat.index("› first") < chat.index("One.") < chat.index("› second") < chat.index("Two.")
    assert "queued" not in chat.toolbar


def test_typing_goes_on_while_an_answer_streams_and_enter_queues(repl: OpenRepl, folder: Path) -> None:
    chat = repl('engine = GatedEngine()\nengine.enqueue(Answer(text=["Begun. ", "@go", "Done."]), "Second answer.")')
    chat.type("first")
    chat.wait_for_text("Begun.")
    chat.press("my next")
    chat.wait_for_typed("my next")
    chat.press(" question", ENTER)
    chat.wait_for("it waits", lambda: "1 queued" in chat.toolbar and chat.typed == "")
    assert "› my next question" not in chat.rows
    (folder / "go").touch()
    chat.wait_for_row("Second answer.")
    assert chat.index("Begun. Done.") < chat.index("› my next question") < chat.index("Second answer.")


def test_ctrl_c_stops_the_answer_keeps_its_text_and_gives_back_what_waits(repl: OpenRepl) -> None:
    chat = repl(FOREVER)
    chat.type("a story")
    chat.wait_for_text("Once upon a time.")
    chat.press("waits", ENTER)
    chat.wait_for("it waits", lambda: "1 queued" in chat.toolbar)
    chat.press("half", CTRL_C)
    chat.wait_for_row("■ interrupted")
    chat.wait_for("both in the input", lambda: "› waits" in chat.rows and "  half" in chat.rows)
    assert "Once upon a time." in chat.rows
    assert "queued" not in chat.toolbar
    chat.press(ENTER)
    chat.wait_for_row("The end.")


def test_two_quick_presses_stop_the_answer_and_no_more(repl: OpenRepl) -> None:
    chat = repl(FOREVER)
    chat.type("a story")
    chat.wait_for_text("Once upon a time.")
    chat.press(CTRL_C + CTRL_C)
    chat.wait_for_row("■ interrupted")
    chat.type("and then?")
    chat.wait_for_row("The end.")
    assert not chat.shows("the engine is ended")


def test_a_second_ctrl_c_ends_an_engine_that_does_not_answer_and_the_conversation_is_kept(repl: OpenRepl) -> None:
    chat = repl('engine = HungEngine()\nengine.enqueue("Back again.")')
    chat.type("are you there?")
    chat.wait_for_text("Half of it.")
    chat.press(CTRL_C)
    chat.wait_for("the hint", lambda: "Ctrl-C again ends the engine" in chat.toolbar)
    assert "stopping" in chat.toolbar
    chat.press(CTRL_C)
    chat.wait_for_text("The engine is started again; the conversation is kept.")
    chat.type("and now?")
    chat.wait_for_row("Back again.")
    assert chat.shows("Half of it.")


def test_ctrl_c_while_the_model_loads_gives_the_question_back(repl: OpenRepl, folder: Path) -> None:
    chat = repl('engine = GatedEngine(loads_late=True)\nengine.enqueue("Yes.")')
    chat.wait_for("the prompt", lambda: "loading weights" in chat.toolbar)
    chat.press("asked", ENTER)
    chat.wait_for("it waits", lambda: "1 queued" in chat.toolbar)
    chat.press(CTRL_C)
    chat.wait_for_typed("asked")
    assert "queued" not in chat.toolbar
    (folder / "load").touch()
    chat.wait_for("ready", lambda: " ready" in chat.toolbar)
    assert chat.typed == "asked"
    chat.press(ENTER)
    chat.wait_for_row("Yes.")


def test_a_model_that_does_not_load_is_told_with_what_to_do_and_a_message_tries_again(repl: OpenRepl) -> None:
    chat = repl('engine = GatedEngine(failures=["no memory left", "still none"])\nengine.enqueue("At last.")')
    chat.wait_for_row("toolchat: no memory left")
    assert "/model NAME loads another model; a message tries this one again." in chat.rows
    chat.wait_for("the state", lambda: " failed" in chat.toolbar)
    chat.press("hello", ENTER)
    chat.wait_for_row("toolchat: still none")
    chat.wait_for_typed("hello")
    chat.press(ENTER)
    chat.wait_for_row("At last.")
    assert chat.rows.count("› hello") == 1


def test_another_model_can_be_loaded_after_one_that_does_not(repl: OpenRepl) -> None:
    chat = repl('engine = GatedEngine(failures=["no memory left"])\nengine.enqueue("I am another.")')
    chat.wait_for_row("toolchat: no memory left")
    chat.press("/model other", ENTER)
    chat.wait_for("the other one", lambda: "other · ready" in chat.toolbar)
    chat.type("who are you?")
    chat.wait_for_row("I am another.")


def test_ctrl_c_stops_a_change_of_the_model_and_the_old_one_goes_on(repl: OpenRepl) -> None:
    chat = repl(
        'import time\nengine = answering("Still here.")\n'
        "def fetch(name):\n    if name == 'big':\n        time.sleep(600)\n"
    )
    chat.type("/model big")
    chat.wait_for("what is under way", lambda: "running /model" in chat.toolbar)
    chat.press("a question that waits", ENTER)
    chat.wait_for("the queue", lambda: "1 queued" in chat.toolbar)
    chat.press(CTRL_C)
    chat.wait_for_row("cancelled: /model big")
    chat.wait_for_row("Still here.")
    chat.wait_for("the old model", lambda: "scripted · ready" in chat.toolbar)
    assert not chat.shows("unexpected")
    chat.press(CTRL_D)
    assert chat.exit_code() == 0


def test_a_crash_is_told_the_engine_restarted_and_the_conversation_goes_on(repl: OpenRepl) -> None:
    chat = repl('engine = answering("One.", Answer(text="Half of", crash=True), "Three.")')
    for question in ("first", "second", "third"):
        chat.type(question)
    chat.wait_for_row("Three.")
    half = chat.index("Half of")
    assert chat.rows[half + 1] == "toolchat: the engine's process ended unexpectedly"
    assert chat.rows[half + 2] == "The engine is started again; the conversation is kept."


def test_a_refused_question_goes_back_to_the_input(repl: OpenRepl) -> None:
    chat = repl('engine = answering(Answer(error=EngineError("the conversation takes too much")), "Two.")')
    chat.type("first")
    chat.wait_for_row("toolchat: the conversation takes too much")
    chat.wait_for_typed("first")
    chat.press(ENTER)
    chat.wait_for_row("Two.")


def test_a_command_that_only_shows_does_not_wait_for_the_answer(repl: OpenRepl, folder: Path) -> None:
    chat = repl('engine = GatedEngine()\nengine.enqueue(Answer(text=["Begun.\\n\\n", "@go", "Done."]))')
    chat.type("first")
    chat.wait_for_row("Begun.")
    chat.press("/tools", ENTER)
    chat.wait_for_text("get_current_weather")
    assert not chat.shows("Done.")
    chat.press("/undo", ENTER)
    chat.wait_for("that /undo waits", lambda: "1 queued" in chat.toolbar)
    (folder / "go").touch()
    chat.wait_for_typed("first")
    assert chat.shows("Done.")


def test_what_was_typed_of_the_turn_that_undo_takes_back_is_in_the_input(repl: OpenRepl) -> None:
    chat = repl('engine = answering("One.", "Two.")')
    chat.type("first")
    chat.wait_for_row("One.")
    chat.wait_for_prompt()
    chat.press("/undo", ENTER)
    chat.wait_for_typed("first")
    chat.press(ENTER)
    chat.wait_for_row("Two.")


def test_a_message_to_an_engine_that_died_unseen_starts_it_again(repl: OpenRepl, folder: Path) -> None:
    chat = repl("""
class Dying(ScriptedEngine):
    async def generate(self, *request):
        async for delta in super().generate(*request):
            yield delta
        if self.starts == 1:
            asyncio.get_running_loop().call_later(0.1, self.die)

    def die(self):
        self.info = None
        Path("dead").touch()

engine = Dying()
engine.enqueue("One.", "Two.")
""")
    chat.type("first")
    chat.wait_for_row("One.")
    chat.wait_for("the engine's end", (folder / "dead").exists)
    chat.type("second")
    chat.wait_for_row("Two.")


def test_a_command_that_takes_its_time_is_named_and_ctrl_c_says_that_it_is_cancelled(
    repl: OpenRepl, folder: Path
) -> None:
    (folder / "mine.yaml").write_text("version: 1\ntools:\n  - callable: ./mine.py:add\n")
    mine = folder / "mine.py"
    mine.write_text('def add(a: int, b: int) -> int:\n    """Add."""\n    return a + b\n')
    chat = repl('engine = answering("One.")', "--tools", "mine.yaml")
    chat.wait_for_prompt()
    mine.write_text(f"import time\ntime.sleep(60)\n{mine.read_text()}")
    chat.press("/reload", ENTER)
    chat.wait_for("what is under way", lambda: "running /reload" in chat.toolbar)
    chat.press("hello", ENTER)
    chat.ctrl_c()
    chat.wait_for_row("cancelled: /reload")
    chat.wait_for_row("One.")
