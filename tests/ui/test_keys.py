from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.input.ansi_escape_sequences import ANSI_SEQUENCES
from prompt_toolkit.key_binding.key_processor import KeyPress
from prompt_toolkit.keys import Keys

from toolchat.ui.keys import GAP_SECONDS, KeyDecoder, KeyParser, typed

REPORTS = {
    "focus in": "\x1b[I",
    "focus out": "\x1b[O",
    "primary attributes": "\x1b[?62;1;6;22c",
    "secondary attributes": "\x1b[>41;390;0c",
    "tertiary attributes": "\x1bP!|00000000\x1b\\",
    "background colour": "\x1b]11;rgb:1e1e/1e1e/1e1e\x1b\\",
    "foreground colour, ended by BEL": "\x1b]10;rgb:ffff/ffff/ffff\x07",
    "palette": "\x1b]4;1;rgb:cccc/0000/0000\x1b\\",
    "clipboard": "\x1b]52;c;eQ==\x07",
    "status": "\x1b[0n",
    "cursor": "\x1b[24;80R",
    "cursor at the beginning of a row": "\x1b[24;1R",
    "cursor in the first row": "\x1b[1;2R",
    "Ctrl-Alt and a key that Ctrl makes nothing of": "\x1b[49;7u",
    "the same of xterm": "\x1b[27;7;49~",
    "the same beyond ASCII": "\x1b[233;7u",
    "private cursor": "\x1b[?24;80;1R",
    "mode": "\x1b[?2026;2$y",
    "size in characters": "\x1b[8;24;80t",
    "size in pixels": "\x1b[4;600;800t",
    "keyboard flags": "\x1b[?0u",
    "version": "\x1bP>|tmux 3.4\x1b\\",
    "termcap": "\x1bP1+r524742=38\x1b\\",
    "graphics": "\x1b_Gi=31;OK\x1b\\",
    "privacy message": "\x1b^y\x1b\\",
    "start of string": "\x1bXy\x1b\\",
    "mouse, SGR": "\x1b[<0;10;20M",
    "mouse, three characters": "\x1b[M !!",
    "mouse, urxvt": "\x1b[96;14;13M",
    "eight bits": "\x9b?62;c",
    "a key's release": "\x1b[121;1:3u",
    "a modifier alone": "\x1b[57441;2u",
    "colour scheme": "\x1b[?997;1n",
    "an unknown SS3": "\x1bO~",
    "size after a resize": "\x1b[48;24;80;600;800t",
    "cell size": "\x1b]1337;ReportCellSize=14.0;7.0\x1b\\",
    "title beyond ASCII": "\x1b]lÜber → x\x1b\\",
    "setting": "\x1bP1$r0m\x1b\\",
    "checksum": "\x1bP1!~ABCD\x1b\\",
    "graphics, eight bits": "\x9fGi=1;OK\x9c",
    "sixel": "\x1b[?2;0;800;600S",
    "locator": "\x1b[1;2;3;4;0&w",
    "colour beyond the palette": "\x1b]21;foreground=rgb:ff/ff/ff\x1b\\",
    "a control character as a key": "\x1b[155u",
    "Escape as text": "\x1b[97;1;27u",
    "Super and a letter": "\x1b[99;9u",
    "volume": "\x1b[57439u",
    "no code point": "\x1b[99999999999999999999u",
    "half a surrogate": "\x1b[55357u",
}
KEYS = {
    "enter": ("\x1b[13u", "\r"),
    "enter with num lock": ("\x1b[13;129u", "\r"),
    "shift-enter": ("\x1b[13;2u", "\n"),
    "shift-enter of xterm": ("\x1b[27;2;13~", "\n"),
    "ctrl-enter": ("\x1b[13;5u", "\n"),
    "alt-enter": ("\x1b[13;3u", "\x1b\r"),
    "ctrl-c": ("\x1b[99;5u", "\x03"),
    "ctrl-c of xterm": ("\x1b[27;5;99~", "\x03"),
    "ctrl-c held": ("\x1b[99;5:2u", "\x03"),
    "ctrl-shift-c": ("\x1b[99:67;6u", "\x03"),
    "ctrl-d": ("\x1b[100;5u", "\x04"),
    "ctrl-_": ("\x1b[95;5u", "\x1f"),
    "ctrl-space": ("\x1b[32;5u", "\x00"),
    "escape": ("\x1b[27u", "\x1b"),
    "tab": ("\x1b[9u", "\t"),
    "shift-tab": ("\x1b[9;2u", "\x1b[Z"),
    "backspace": ("\x1b[127u", "\x7f"),
    "ctrl-backspace": ("\x1b[127;5u", "\x1b\x7f"),
    "a letter": ("\x1b[121u", "y"),
    "a capital": ("\x1b[97:65;2u", "A"),
    "a capital of xterm": ("\x1b[27;2;65~", "A"),
    "a capital without its shifted key": ("\x1b[97;2u", "A"),
    "a letter beyond ASCII": ("\x1b[228u", "ä"),
    "text": ("\x1b[97;1;228u", "ä"),
    "alt-f": ("\x1b[102;3u", "\x1bf"),
    "keypad 7": ("\x1b[57406u", "7"),
    "keypad enter": ("\x1b[57414u", "\r"),
    "keypad enter of vt100": ("\x1bOM", "\r"),
    "keypad 5 of vt100": ("\x1bOu", "5"),
    "up with num lock": ("\x1b[1;129A", "\x1b[A"),
    "ctrl-left, held": ("\x1b[1;5:2D", "\x1b[1;5D"),
    "delete with caps lock": ("\x1b[3;65~", "\x1b[3~"),
    "ctrl-c where the key has a Cyrillic letter": ("\x1b[1089::99;5u", "\x03"),
    "alt-b on a Greek keyboard": ("\x1b[946::98;3u", "\x1bb"),
    "a Cyrillic letter": ("\x1b[1089::99u", "с"),
    "ctrl-c with caps lock": ("\x1b[99;69u", "\x03"),
    "ctrl-c with num lock": ("\x1b[99;133u", "\x03"),
    "ctrl-c with text": ("\x1b[99;5;3u", "\x03"),
    "ctrl-shift-enter": ("\x1b[13;6u", "\n"),
    "enter, held": ("\x1b[13;1:2u", "\r"),
    "alt-a of xterm": ("\x1b[27;3;97~", "\x1ba"),
    "an umlaut of xterm": ("\x1b[27;2;196~", "Ä"),
    "an emoji": ("\x1b[128512u", "😀"),
    "text with a combining mark": ("\x1b[97;;97:776u", "a\u0308"),
    "keypad left": ("\x1b[57417u", "\x1b[D"),
    "keypad home": ("\x1b[57423u", "\x1b[H"),
    "keypad page down": ("\x1b[57422u", "\x1b[6~"),
    "keypad delete with ctrl": ("\x1b[57426;5u", "\x1b[3;5~"),
    "keypad separator": ("\x1b[57416u", ","),
}


def decoded(text: str) -> str:
    decoder = KeyDecoder()
    return decoder.feed(text) + decoder.flush()


def pressed(text: str) -> list[str]:
    keys: list[KeyPress] = []
    parser = KeyParser(keys.append)
    parser.feed(text)
    parser.flush()
    return [key.key.value if isinstance(key.key, Keys) else key.key for key in keys]


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_a_report_of_the_terminal_is_no_key(report: str) -> None:
    assert decoded(report) == ""
    assert decoded(f"y{report}n") == "yn"
    assert pressed(f"a{report}") == ["a"]


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_a_report_that_comes_in_pieces_is_no_key(report: str) -> None:
    decoder = KeyDecoder()
    assert "".join(map(decoder.feed, report)) + decoder.feed("y") == "y"


@pytest.mark.parametrize("report", [report for report in REPORTS.values() if len(report) > 3])
def test_a_report_whose_rest_is_late_is_no_key(report: str) -> None:
    decoder = KeyDecoder()
    assert decoder.feed(report[:3]) + decoder.flush() + decoder.feed(report[3:]) + decoder.feed("y") == "y"


@pytest.mark.parametrize(("sent", "key"), KEYS.values(), ids=KEYS)
def test_a_key_in_a_newer_encoding_is_the_key(sent: str, key: str) -> None:
    assert decoded(sent) == key
    assert decoded(f"a{sent}b") == f"a{key}b"


@pytest.mark.parametrize(
    "sequence", [one for one in ANSI_SEQUENCES if not one.startswith(("\x1b[27;", "\x1b[200", "\x9b"))]
)
def test_what_prompt_toolkit_knows_is_what_it_was(sequence: str) -> None:
    if not sequence.endswith(("u", "R")):
        assert decoded(sequence) == sequence


def test_a_lone_escape_waits_for_what_may_follow() -> None:
    decoder = KeyDecoder()
    assert decoder.feed("\x1b") == ""
    assert decoder.flush() == "\x1b"


@pytest.mark.parametrize("introducer", "[O]PX^_")
def test_alt_and_a_key_that_could_begin_a_report_is_a_key(introducer: str) -> None:
    assert decoded(f"\x1b{introducer}") == f"\x1b{introducer}"


def test_alt_and_an_arrow_is_both() -> None:
    assert decoded("\x1b\x1b[A") == "\x1b\x1b[A"


@pytest.mark.parametrize("key", ["\x03", "\r"])
@pytest.mark.parametrize("begun", ["\x1b]11;rgb:", "\x1bPx", "\x1b[12"])
def test_a_report_without_an_end_eats_no_key_that_none_holds(begun: str, key: str) -> None:
    assert decoded(begun + key) == key


def test_what_comes_long_after_half_a_report_is_typed() -> None:
    now = [0.0]
    decoder = KeyDecoder(lambda: now[0])
    assert decoder.feed("\x1b]11;rgb:") + decoder.flush() == ""
    now[0] += GAP_SECONDS + 0.1
    assert decoder.feed("yes") == "yes"


@given(st.text(st.sampled_from("\x1b[]O?;u2013~IRyn\x07\\é\r"), max_size=40), st.data())
def test_pieces_change_nothing(text: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(text)))
    whole, parts = KeyDecoder(lambda: 0.0), KeyDecoder(lambda: 0.0)
    assert parts.feed(text[:cut]) + parts.feed(text[cut:]) == whole.feed(text)


@given(st.text(st.characters(blacklist_categories=["Cc", "Cs"]), max_size=40))
def test_text_is_text(text: str) -> None:
    assert decoded(text) == text
    assert typed(text) == text


def test_a_paste_is_left_alone_whatever_is_in_it() -> None:
    paste = "\x1b[200~a\x1b[I\x1b]11;x\x07b\x1b[201~"
    assert decoded(f"{paste}\x1b[I!") == f"{paste}!"
    decoder = KeyDecoder()
    assert "".join(map(decoder.feed, paste)) == paste


@given(st.integers(1, 20))
def test_after_a_paste_that_came_in_pieces_reports_are_none_of_its_text(size: int) -> None:
    decoder = KeyDecoder()
    paste = "\x1b[200~ab\x1b[201\x1b[201~"
    fed = [decoder.feed(paste[at : at + size]) for at in range(0, len(paste), size)]
    assert "".join(fed) == paste
    assert decoder.feed("\x1b[Iy") == "y"


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_a_typed_line_has_no_reports(report: str) -> None:
    assert typed(f"{report}y") == "y"
    assert typed(f"y{report}") == "y"


def test_a_typed_line_has_no_arrows() -> None:
    assert typed("\x1b[Ayes\x1b[1;5D") == "yes"
    assert typed("\x1b[[A\x1b[[Eyes\x1bOP\x1b[57417u") == "yes"
