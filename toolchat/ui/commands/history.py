"""Commands about the conversation: undo, retry, clear, show and copy answers and results, begin the next question.

Copying is by OSC 52, which works over ssh as well; whether the terminal did so cannot be known: it gives no answer.
"""

from __future__ import annotations

import asyncio
import base64
import re
from dataclasses import dataclass, replace

from rich.text import Text

from toolchat.images.image import description
from toolchat.ui.attached import as_typed, named_but_not_sent
from toolchat.ui.calls import MARKS, content_lines, image_lines
from toolchat.ui.commands.base import FAILURE, QUIET, Completion, Context, Outcome, as_line, say, told
from toolchat.ui.text.cells import cut
from toolchat.ui.text.sanitize import sanitize_line
from toolchat.wire.errors import UsageError
from toolchat.wire.messages import ResultStatus, ToolResult

NOTHING = "There is no turn to take back."


_UNDONE = {
    "summary": "The summary is taken back: the model is sent what it was sent before.",
    "trim": "The result is as it was before.",
    "keep": "The turn is kept, or not, as before.",
    "branch": "This is where the chat was before.",
    "retry": "The turn is as it was before.",
}
"""What is said of an edit that is undone."""
_SHOWN = 50
"""Characters of a question in the list of turns."""


async def undo(context: Context, _: str) -> Outcome:
    if edit := context.chat.room.undo_edit():
        return told(_UNDONE[edit], style=QUIET)
    taken = context.chat.undo()
    if taken is None:
        return told(NOTHING, style=QUIET)
    line = say("The last turn is taken back. Its question can be edited and sent again.", QUIET)
    words = named_but_not_sent(taken.content, taken.images)
    return Outcome((line,), put=as_line(as_typed(taken.content)), words=words, images=taken.images)


async def retry(context: Context, _: str) -> Outcome:
    if context.chat.can_retry_round:
        # From the beginning, what the tools have done would be done again.
        return Outcome((say("The calls of this turn are not made again.", QUIET),), retry_round=True)
    numbers = context.chat.conversation.numbers
    taken = context.chat.undo()
    if taken is None:
        return told(NOTHING, style=QUIET)
    line = say(f"/branch {numbers[-1]} goes back to the answer before.", QUIET)
    return Outcome((line,), ask=taken.content, images=taken.images)


async def branch(context: Context, argument: str) -> Outcome:
    if not argument:
        rows = _turn_rows(context)
        if len(rows) < 2:
            return told("There is no turn to go back to yet.", style=QUIET)
        hint = say("/branch TURN goes there: the chat is then as it was when that turn had ended.", QUIET)
        return Outcome((*rows, hint), pick="/branch ")
    if not (argument.isascii() and argument.isdigit() and len(argument) < 10):
        raise UsageError("expected /branch, or /branch TURN")
    context.chat.room.branch(int(argument))
    where = f"turn {argument} is the last one" if int(argument) else "the chat begins"
    return told(f"From here on {where}. /undo goes back to where you were, and so does /branch.", style=QUIET)


def complete_branch(context: Context, text: str) -> list[Completion]:
    numbers = context.chat.conversation.numbers
    last = numbers[-1] if numbers else 0
    return [
        Completion(str(number), about, len(text))
        for number, about in reversed(_reachable(context))
        if str(number).startswith(text) and number != last
    ]


def _turn_rows(context: Context) -> list[Text]:
    """A row for every turn that the chat can go to, and for the beginning; the turns that it has now are marked."""
    now = set(context.chat.conversation.numbers)
    return [
        Text.assemble((f"{'●' if number in now else ' '} {number:>2}  ", "bold"), about)
        for number, about in _reachable(context)
    ]


def _reachable(context: Context) -> list[tuple[int, str]]:
    """Every turn that the chat can go to, and what it is; one that follows another than the one above says which."""
    found = [(0, "the beginning")]
    for turn, previous in context.chat.conversation.reachable():
        words = "a summary" if turn.replaced else _first_line(turn.question.content)
        after = f"after {previous or 'the beginning'}: " if previous != found[-1][0] else ""
        found.append((turn.number, f"{after}{words}"))
    return found


def _first_line(text: str) -> str:
    line = sanitize_line(next((row for row in text.splitlines() if row.strip()), "")).strip()
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


async def clear(context: Context, _: str) -> Outcome:
    turns = context.chat.conversation.turns
    if not turns:
        return told("There is nothing to forget.", style=QUIET)
    context.chat.clear()
    what = "1 turn is" if turns == 1 else f"{turns} turns are"
    return told(f"{what} forgotten; the record keeps all.", style=QUIET)


async def last(context: Context, _: str) -> Outcome:
    results = context.chat.last_results
    if not results:
        return told("No tool has been called yet.", style=QUIET)
    return Outcome(tuple(row for result in results for row in _whole(result)))


async def think(context: Context, argument: str) -> Outcome:
    match argument.lower():
        case "on":
            return replace(told("Thinking is shown as it comes, from now on.", style=QUIET), folds_thinking=False)
        case "off":
            return replace(told("Thinking is folded to a row, from now on.", style=QUIET), folds_thinking=True)
        case "":
            pass
        case _:
            raise UsageError("expected /think, /think on or /think off")
    thinking = context.chat.last_thinking.strip()
    if not thinking:
        return told("There was no thinking in the last answer.", style=QUIET)
    return Outcome(tuple(say(row, "dim italic") for row in thinking.split("\n")))


async def copy(context: Context, argument: str) -> Outcome:
    answer = context.chat.last_answer
    if not answer:
        return told("There is no answer to copy yet.", style=QUIET)
    what = ""
    if argument:
        found, written = blocks(answer), argument[:20]
        number = int(argument) if argument.isdecimal() and len(argument) < 6 else 0
        if not found:
            raise UsageError(f"/copy {written}: the last answer has neither code nor tables; /copy copies it whole")
        if not 1 <= number <= len(found):
            here = "1, the only block" if len(found) == 1 else f"a number from 1 to {len(found)}"
            raise UsageError(f"/copy {written}: expected {here} of code or table in the last answer")
        answer, what = found[number - 1].text, f" of {_kind(found[number - 1].kind)}"
    answer = copyable(answer)
    size = len(answer.encode("utf-8", "replace"))
    lines = [say(f"Sent {_characters(len(answer))}{what} to the terminal's clipboard (OSC 52).", QUIET)]
    if size > OSC52_BYTES:
        lines.append(say(f"Many terminals take no more than {OSC52_BYTES:,} bytes; this was {size:,}.", QUIET))
    if "TMUX" in context.environment:
        lines.append(say("tmux passes it on with: set -g set-clipboard on", QUIET))
    elif "STY" in context.environment:
        lines.append(say("GNU screen does not pass it on.", QUIET))
    return Outcome(tuple(lines), write=copied(answer))


def complete_copy(context: Context, text: str) -> list[Completion]:
    found = blocks(context.chat.last_answer)
    return [
        Completion(str(number), f"{_kind(block.kind)}: {_beginning(block.text)}", len(text))
        for number, block in enumerate(found, 1)
        if str(number).startswith(text)
    ]


def complete_think(_: Context, text: str) -> list[Completion]:
    words = (("on", "show it as it comes"), ("off", "fold it to a row"))
    return [Completion(word, help_, len(text)) for word, help_ in words if word.startswith(text)]


def _kind(kind: str) -> str:
    return cut(sanitize_line(kind), 20)


def _beginning(text: str) -> str:
    return cut(sanitize_line(text.strip().partition("\n")[0]), 40)


def _characters(number: int) -> str:
    return "1 character" if number == 1 else f"{number:,} characters"


def _whole(result: ToolResult) -> list[Text]:
    """A result in full: what `toolchat.ui.calls.result_lines` shortens."""
    how = "" if result.status is ResultStatus.OK else f"{result.status}, "
    heading = sanitize_line(f"{MARKS[result.status]} {result.name} ({how}{result.seconds:.1f} s)")
    rows = [Text(heading, style="bold" if result.status is ResultStatus.OK else FAILURE)]
    rows += [say(f"  {row}") for row in content_lines(result.content)]
    rows += [say(f"  {row}", QUIET) for row in image_lines(result)]
    return rows


OSC52_BYTES = 74_994
"""Of the text: what fits into the 100,000 bytes of one sequence that xterm's descendants take."""

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def copyable(text: str) -> str:
    """`text` without control characters other than newline and tab: it will be pasted into a shell some day."""
    return _CONTROL.sub("", text.replace("\r\n", "\n"))


def copied(text: str) -> str:
    """The control sequence that copies `text`."""
    # Ended by BEL and not by ST: every terminal that knows the sequence takes that.
    return f"\x1b]52;c;{base64.b64encode(text.encode('utf-8', 'replace')).decode()}\x07"


@dataclass(frozen=True, slots=True)
class Block:
    """What can be copied by itself."""

    kind: str
    """The language of code, or "code", or "table"."""
    text: str


def blocks(answer: str) -> list[Block]:
    """The code blocks, without their fences, and the tables, as they were written, of a text in Markdown."""
    from markdown_it import MarkdownIt

    lines = answer.split("\n")
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(answer):
        match token.type:
            case "fence":
                language = (token.info.split() or ["code"])[0]
                found.append(Block(language, token.content.removesuffix("\n")))
            case "code_block":
                found.append(Block("code", token.content.removesuffix("\n")))
            case "table_open" if token.map is not None:
                rows = lines[token.map[0] : token.map[1]]
                found.append(Block("table", "\n".join(rows).strip("\n")))
    return found


async def image(context: Context, argument: str) -> Outcome:
    from toolchat.images.attached import read_image

    if not argument:
        raise UsageError("expected /image FILE or /image URL")
    info = context.chat.info
    if info is not None and not info.supports_images:
        raise UsageError(f"/image: the model {context.chat.model} cannot see images; /model NAME loads another")
    written = argument.strip()
    if len(written) > 1 and written[0] == written[-1] and written[0] in "\"'":
        written = written[1:-1]
    # An address may take half a minute, and a file lie on a slow disk.
    found = await asyncio.to_thread(read_image, written)
    return Outcome((say(f"{sanitize_line(found.source)} ({description(found)}) goes along.", QUIET),), attach=(found,))


async def edit(_: Context, argument: str) -> Outcome:
    return Outcome(edit=argument)


def complete_image(_: Context, text: str) -> list[Completion]:
    from toolchat.ui.file_names import paths

    return [Completion(path, "", len(text)) for path in paths(text)]
