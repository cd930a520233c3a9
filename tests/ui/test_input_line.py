"""The input line by its keys: what counts as typed of a line that comes back, and Tab."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from prompt_toolkit.application import Application
from prompt_toolkit.application.current import set_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.input import DummyInput
from prompt_toolkit.key_binding.key_processor import KeyPress
from prompt_toolkit.key_binding.vi_state import InputMode
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import HSplit, Layout
from prompt_toolkit.output import DummyOutput

from toolchat.ui.attached import Text, as_typed, named_but_not_sent, with_files
from toolchat.ui.input import InputLine
from toolchat.ui.input_history import FoldedHistory, PrivateHistory
from toolchat.ui.pastes import Pastes
from toolchat.wire.messages import Image

PASTE = "\x00paste"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    return tmp_path


def entered(history: Path, *keys: Keys | str | tuple[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    """What a new chat's input line hands over, and of it what was typed; a text that begins with PASTE is pasted,
    and a pair is put there, with the mentions that are words."""
    sent: list[tuple[str, str]] = []

    async def run() -> None:
        line = InputLine(
            PrivateHistory(history), lambda *both: sent.append(both), completer=lambda: None, most_rows=lambda: 5
        )
        app: Application[None] = Application(
            Layout(HSplit(line.rows), line.window), key_bindings=line.bindings, input=DummyInput(), output=DummyOutput()
        )
        with set_app(app):
            line.buffer.load_history_if_not_yet_loaded()
            loading = line.buffer._load_history_task
            assert loading is not None
            await loading
            for key in keys:
                if isinstance(key, tuple):
                    line.put(*key)
                elif isinstance(key, Keys):
                    app.key_processor.feed(KeyPress(key))
                elif key.startswith(PASTE):
                    app.key_processor.feed(KeyPress(Keys.BracketedPaste, key.removeprefix(PASTE)))
                else:
                    app.key_processor.feed_multiple([KeyPress(char) for char in key])
                app.key_processor.process_keys()

    asyncio.run(run())
    return sent


@pytest.mark.parametrize(
    "paste",
    [
        "see @notes.txt first",
        "see @docs:note://1 first",
        "a @notes.txt\n" * 12,
        " ".join(["@no", *["@x"] * 20, "@notes.txt"]),
    ],
)
def test_a_pasted_mention_is_none_of_the_users_in_a_later_chat_either(here: Path, paste: str) -> None:
    first = entered(here / "history", "explain: ", PASTE + paste, Keys.Enter)
    assert first == [(f"explain: {paste}", "explain: ")]
    assert entered(here / "history", Keys.Up, Keys.Enter) == first


def test_a_pasted_command_is_none_in_a_later_chat_either(here: Path) -> None:
    paste = "!touch gone\n" + "x\n" * 12
    first = entered(here / "history", PASTE + paste, Keys.Enter)
    assert first == [(paste, "")]
    short = "/quit @notes.txt"
    assert entered(here / "history", PASTE + short, Keys.Enter) == [(f" {short}", "")]
    assert entered(here / "history", Keys.Up, Keys.Enter) == [(f" {short}", "")]


def test_a_paste_that_named_nothing_where_it_was_pasted_is_no_mention_elsewhere(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "other").mkdir()
    monkeypatch.chdir(here / "other")
    assert entered(here / "history", PASTE + "see @notes.txt", Keys.Enter) == [("see @notes.txt", "see @notes.txt")]
    monkeypatch.chdir(here)
    assert entered(here / "history", Keys.Up, Keys.Enter) == [("see @notes.txt", "")]


def test_what_was_typed_or_pasted_alone_still_counts_in_a_later_chat(here: Path) -> None:
    whole = "see @notes.txt"
    assert entered(here / "history", whole, Keys.Enter) == [(whole, whole)]
    assert entered(here / "history", Keys.Up, Keys.Enter) == [(whole, whole)]
    assert entered(here / "history", "see ", PASTE + "@notes.txt", Keys.Enter) == [(whole, whole)]
    assert entered(here / "history", Keys.Up, Keys.Enter) == [(whole, whole)]


@pytest.mark.parametrize("forged", ["\U0010eff0", "\U0010eff1"])
def test_a_short_paste_with_the_character_of_a_mark_is_marked_in_the_history(
    here: Path, monkeypatch: pytest.MonkeyPatch, forged: str
) -> None:
    (here / "other").mkdir()
    monkeypatch.chdir(here / "other")
    assert entered(here / "history", PASTE + f"{forged}see @notes.txt", Keys.Enter)
    monkeypatch.chdir(here)
    assert entered(here / "history", Keys.Up, Keys.Enter) == [("\ufffdsee @notes.txt", "")]


@pytest.mark.parametrize("forged", ["\U0010eff1 @notes.txt \U0010eff0", "\U0010eff1", "\U0010eff0a\U0010eff0"])
def test_no_text_ends_the_mark_of_a_paste(here: Path, forged: str) -> None:
    history = PrivateHistory(here / "history")
    pastes = Pastes()
    text = f"{forged}\n" * 12
    FoldedHistory(history, pastes).store_string(f"see {pastes.fold(text)}{forged}")
    (marked,) = history.load_history_strings()
    again = Pastes()
    typed = [part for part, is_typed in again.typed_parts(again.restored(marked, lambda paste: True)) if is_typed]
    plain = forged.replace("\U0010eff0", "\ufffd").replace("\U0010eff1", "\ufffd")
    assert typed == ["see ", plain]


def test_undo_of_an_earlier_chats_question_makes_no_mention_of_a_word(here: Path) -> None:
    (here / "typed.txt").write_text("too")
    question = 'read @typed.txt, not @notes.txt or @"notes.txt" or @notes.txt.bak or @s:u://x'
    sent = with_files(question, typed="read @typed.txt,").text
    words = named_but_not_sent(sent)
    assert words == ("@notes.txt", '@"notes.txt"', "@s:u://x")
    ((text, typed),) = entered(here / "history", (question, words), Keys.Enter)
    assert text == question
    assert with_files(text, typed=typed).text == sent


def put_again(here: Path, sent: str) -> tuple[str, str]:
    """What Enter hands over, and of it what was typed, once `/undo` has put back what was sent in an earlier chat."""
    (both,) = entered(here / "history", (as_typed(sent), named_but_not_sent(sent)), Keys.Enter)
    return both


@pytest.mark.parametrize("mention", ["@notes.txt", "@s:u://x"])
@pytest.mark.parametrize("name", ["log", "notes.txt", "@s:u://x"])
def test_what_was_printed_or_pasted_names_nothing_once_it_is_taken_back(here: Path, mention: str, name: str) -> None:
    printed = with_files("what is it?", texts=[Text("output of `echo`", f"see {mention}")], typed="what is it?").text
    pasted = f"{name}:\n```\nerr\n```\n\nsee {mention}"
    both = with_files(pasted, texts=[Text("output of `echo`", f"see {mention} again")], typed="").text
    for sent in (printed, pasted, both):
        text, typed = put_again(here, sent)
        assert text == sent
        assert mention not in typed
        assert with_files(text, typed=typed).text == sent


def test_a_file_that_went_along_does_so_again_behind_what_was_printed(here: Path) -> None:
    (here / "other.txt").write_text("also mine")
    output = Text("output of `echo`", "see @notes.txt and @other.txt")
    sent = with_files("compare @notes.txt", texts=[output]).text
    text, typed = put_again(here, sent)
    assert "@notes.txt" in typed
    assert "@other.txt" not in typed
    assert text == "compare @notes.txt\n\noutput of `echo`:\n```\nsee @notes.txt and @other.txt\n```"
    again = with_files(text, typed=typed).text
    assert (again.count("\nmine\n"), again.count("also mine")) == (1, 0)


def test_a_resource_and_an_image_that_went_along_do_so_again() -> None:
    image = Image(data=b"", media_type="image/png", width=1, height=1, source="notes.txt")
    assert named_but_not_sent("see @s:u://x. and @notes.txt\n\n@s:u://x:\n```\nbody\n```", [image]) == ()


def test_a_question_that_was_entered_here_comes_back_as_it_was_typed(here: Path) -> None:
    whole = "see @notes.txt"
    both = entered(here / "history", whole, Keys.Enter, (whole, ("@notes.txt",)), Keys.Enter)
    assert both == [(whole, whole)] * 2


def test_the_label_of_a_short_paste_is_the_paste() -> None:
    pastes = Pastes()
    assert pastes.label(pastes.fold("@notes.txt", short_too=True)) == "[pasted @notes.txt]"
    assert pastes.label(pastes.fold("a\x1b[2J", short_too=True)) == "[pasted 5 characters]"


@pytest.mark.parametrize("tabs", [1, 2])
@pytest.mark.parametrize(("offered", "text"), [(("/model",), "/model"), (("/model", "/models"), "/model")])
def test_tab_completes_while_completions_for_the_last_key_are_looked_for(
    here: Path, tabs: int, offered: tuple[str, ...], text: str
) -> None:
    looks, go_on = threading.Event(), threading.Event()

    class Slow(Completer):
        def get_completions(self, document: Document, _: CompleteEvent) -> Iterable[Completion]:
            looks.set()
            assert go_on.wait(20)
            return [Completion(one, -len(document.text)) for one in offered if one.startswith(document.text)]

    async def run() -> None:
        line = InputLine(PrivateHistory(here / "history"), lambda *_: None, completer=Slow, most_rows=lambda: 5)
        app: Application[None] = Application(
            Layout(HSplit(line.rows), line.window), key_bindings=line.bindings, input=DummyInput(), output=DummyOutput()
        )
        done = asyncio.Event()
        line.buffer.on_text_changed += lambda buffer: done.set() if buffer.text == text else None
        with set_app(app):
            app.key_processor.feed_multiple([KeyPress(char) for char in "/mo"])
            app.key_processor.process_keys()
            for _ in range(tabs):
                app.key_processor.feed(KeyPress(Keys.ControlI, "\t"))
                app.key_processor.process_keys()
            await asyncio.to_thread(looks.wait, 20)
            go_on.set()
            async with asyncio.timeout(10):
                await done.wait()
            await app.cancel_and_wait_for_background_tasks()

    asyncio.run(run())


@pytest.mark.parametrize("mode", ["emacs", "insert", "navigation", "operator", "selection"])
def test_tab_completes_only_where_text_is_inserted(here: Path, mode: str) -> None:
    begun = []

    async def run() -> None:
        line = InputLine(PrivateHistory(here / "history"), lambda *_: None, completer=lambda: None, most_rows=lambda: 5)
        app: Application[None] = Application(
            Layout(HSplit(line.rows), line.window),
            key_bindings=line.bindings,
            editing_mode=EditingMode.EMACS if mode == "emacs" else EditingMode.VI,
            input=DummyInput(),
            output=DummyOutput(),
        )
        line.buffer.start_completion = lambda **_: begun.append(mode)  # type: ignore[method-assign]
        with set_app(app):
            line.buffer.insert_text("hello")
            if mode not in ("emacs", "insert"):
                app.vi_state.input_mode = InputMode.NAVIGATION
            keys = {"operator": "d", "selection": "v"}.get(mode, "")
            app.key_processor.feed_multiple([*map(KeyPress, keys), KeyPress(Keys.ControlI, "\t")])
            app.key_processor.process_keys()
            await asyncio.sleep(0)
        assert line.buffer.text == "hello"

    asyncio.run(run())
    assert begun == ([mode] if mode in ("emacs", "insert") else [])
