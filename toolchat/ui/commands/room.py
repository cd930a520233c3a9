"""Commands about the room in the context: show what fills it, sum turns up, keep a turn, trim a result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from toolchat.ui.commands.base import QUIET, Completion, Context, Outcome, say, told
from toolchat.ui.text.sanitize import sanitize_line
from toolchat.ui.text.wrapping import wrapped
from toolchat.wire.errors import UsageError

if TYPE_CHECKING:
    from toolchat.chat.context_view import ContextView, ResultView

NAMED = 6
"""Tools and results that are named, of those that take the most."""
LISTED = 20
"""Results that /trim lists, those that take the most."""
_QUESTION = 40
"""Characters of a question beside a turn's number."""
_BAR = 100
"""Columns of the bar at most."""

_PARTS = (
    ("s", "system prompt", "magenta"),
    ("t", "tools", "cyan"),
    ("q", "questions", "green"),
    ("a", "answers", "bold"),
    ("m", "summaries", "yellow"),
    ("r", "results", "red"),
    ("f", "format", QUIET),
)
_FREE = "·"


async def context(context: Context, _: str) -> Outcome:
    view = await context.chat.room.view()
    about = "~" if view.estimated else ""
    share = 100 * view.total / view.window
    heading = f"{about}{view.total:,} of {view.window:,} tokens ({share:.0f} %)"
    rows = [say(heading, "bold"), _bar(view, min(context.width() - 1, _BAR))]
    rows += _part_rows(view, about, context.width())
    rows += [say(row, QUIET) for row in _more(view, about, context.chat.turn_settings["max_tokens"])]
    return Outcome(tuple(rows))


async def compact(context: Context, argument: str) -> Outcome:
    # Not needed for a prompt to appear.
    from toolchat.session.room import compacted_text

    made = await context.chat.room.compact(argument)
    # The summary itself has been shown as what it is, an event of the session.
    return told(f"{compacted_text(made)}. /undo puts them back, /summary edits the summary.", style=QUIET)


async def summary(context: Context, argument: str) -> Outcome:
    if argument:
        context.chat.room.change_summary(argument)
        return told("The summary has these words, from the next turn on; /undo takes them back.", style=QUIET)
    turn = context.chat.room.summary()
    line = say("Edit the summary and send it; the model is sent it in place of its turns.", QUIET)
    return Outcome((line,), put=f"/summary {turn.messages[1].content}")


async def keep(context: Context, argument: str) -> Outcome:
    number, kept = _kept(argument)
    number = context.chat.room.keep(number, kept)
    what = "is kept: it is set aside and summed up last" if kept else "is not kept any more"
    return told(f"Turn {number} {what}.", style=QUIET)


async def trim(context: Context, argument: str) -> Outcome:
    match argument.split():
        case []:
            return _listed(await context.chat.room.results())
        case [place]:
            most = None
        case [place, tokens] if tokens.isascii() and tokens.isdigit() and 0 < int(tokens) < 10**9:
            most = int(tokens)
        case _:
            raise UsageError("expected /trim, /trim RESULT, or /trim RESULT TOKENS")
    changed = await context.chat.room.trim(place, most)
    if not changed:
        what = "as short already" if most is not None else "no longer than what would stand in its place"
        return told(f"Nothing is trimmed: it is {what}.", style=QUIET)
    how = "is dropped" if most is None else "is cut in the middle"
    rows = [f"{one.place} {sanitize_line(one.name)} {how}: {one.tokens:,} tokens, now {now:,}." for one, now in changed]
    return told(*rows, "/undo takes that back; the record keeps all.", style=QUIET)


def complete_keep(context: Context, text: str) -> list[Completion]:
    number, space, word = text.partition(" ")
    history = context.chat.conversation.history
    if not space:
        return [
            Completion(f"{turn.number}", _short(turn.question.content), len(number))
            for turn in reversed(history)
            if str(turn.number).startswith(number)
        ]
    return [Completion("off", "no longer keep it", len(word))] if "off".startswith(word) else []


def complete_trim(context: Context, text: str) -> list[Completion]:
    if " " in text:
        return []
    found = []
    for turn in reversed(context.chat.conversation.history):
        for at, result in enumerate(turn.results, start=1):
            place = f"{turn.number}.{at}"
            if place.startswith(text):
                about = f"{sanitize_line(result.name)}, {len(result.content):,} characters"
                found.append(Completion(place, about, len(text)))
    return found


def _kept(argument: str) -> tuple[int | None, bool]:
    match argument.split():
        case []:
            return None, True
        case ["off"]:
            return None, False
        case [number] if _is_number(number):
            return int(number), True
        case [number, "off"] if _is_number(number):
            return int(number), False
    raise UsageError("expected /keep, /keep TURN, or /keep TURN off")


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 10


def _sizes(view: ContextView) -> list[int]:
    tools = sum(tokens for _, tokens in view.tools)
    results = sum(result.tokens for result in view.results)
    return [view.system, tools, view.questions, view.answers, view.summaries, results, view.format]


def _bar(view: ContextView, width: int) -> Text:
    """The window as a row of letters, one for each kind of part, so that it can be read without colours."""
    cells = _cells([*_sizes(view), view.free], width)
    bar = Text()
    for (letter, _, style), number in zip((*_PARTS, (_FREE, "free", QUIET)), cells, strict=True):
        bar.append(letter * number, style=style)
    return bar


def _cells(sizes: Sequence[int], width: int) -> list[int]:
    """How many of `width` cells each size has: what is there has one at least, and they are all used."""
    total = sum(sizes)
    if not total:
        return [0] * len(sizes)
    cells = [max(1, size * width // total) if size else 0 for size in sizes]
    by_size = sorted(range(len(sizes)), key=lambda at: sizes[at])
    # What is over, and what is lacking, is the largest part's: there it is seen the least.
    while sum(cells) > width and any(number > 1 for number in cells):
        cells[max(by_size, key=lambda at: cells[at])] -= 1
    cells[by_size[-1]] += max(0, width - sum(cells))
    return cells


def _part_rows(view: ContextView, about: str, width: int) -> Iterator[Text]:
    tools = Counter(dict(view.tools))
    results: Counter[str] = Counter()
    for result in view.results:
        results[result.name] += result.tokens
    details = {"tools": _largest(tools), "results": _largest(results)}
    sizes = [(letter, name, size) for (letter, name, _), size in zip(_PARTS, _sizes(view), strict=True)]
    column = max(len(f"{about}{size:,}") for size in (view.total, view.free, *(size for *_, size in sizes)))
    styles = {letter: style for letter, _, style in _PARTS}
    for letter, name, size in [*sizes, (_FREE, "free", view.free)]:
        if not size and letter != _FREE:
            continue
        row = Text.assemble((f"{letter} ", styles.get(letter, QUIET)), f"{name:<13}  {f'{about}{size:,}':>{column}}")
        detail = details.get(name, "")
        if detail and row.cell_len + 2 + len(detail) < width:
            row.append(f"  {detail}", style=QUIET)
            detail = ""
        yield row
        for line in wrapped(detail, max(width - 3, 1)) if detail else []:
            yield say(f"  {line}", QUIET)


def _more(view: ContextView, about: str, max_tokens: int) -> Iterator[str]:
    if kept := [turn.number for turn in view.turns if turn.kept]:
        yield f"Kept: {_numbers(kept)}."
    if view.aside:
        yield f"Set aside, and not sent: {_numbers(view.aside)}."
    answer = min(max_tokens, view.free)
    cost = f"The next turn reads {about}{view.total:,} tokens and your question, and may answer with {answer:,}."
    if view.cached is None:
        yield cost
        return
    yield cost
    soon = f", in about {view.seconds:.1f} s" if view.seconds is not None else ""
    yield f"About {view.cached:,} of them are in the engine's cache; {view.new:,} are read anew{soon}."


def _largest(tokens: Counter[str]) -> str:
    named = [f"{sanitize_line(name)} {number:,}" for name, number in tokens.most_common(NAMED)]
    if (others := len(tokens) - len(named)) > 0:
        rest = tokens.total() - sum(number for _, number in tokens.most_common(NAMED))
        named.append(f"{others} more {rest:,}")
    return ", ".join(named)


def _numbers(numbers: Sequence[int]) -> str:
    """ "turn 3", "turns 1 to 7, 9"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    return f"{'turn' if len(numbers) == 1 else 'turns'} {', '.join(texts)}"


def _listed(results: Sequence[ResultView]) -> Outcome:
    if not results:
        return told("There is no result of a tool in the context.", style=QUIET)
    largest = sorted(results, key=lambda one: one.tokens, reverse=True)
    rows = [_result_row(one) for one in largest[:LISTED]]
    if len(largest) > LISTED:
        rest = sum(one.tokens for one in largest[LISTED:])
        rows.append(say(f"{len(largest) - LISTED} more, {rest:,} tokens", QUIET))
    hint = "/trim RESULT drops one, /trim RESULT TOKENS shortens it; /trim TURN takes all of a turn."
    return Outcome((*rows, say(hint, QUIET)))


def _result_row(one: ResultView) -> Text:
    images = f", {one.images} images" if one.images > 1 else ", 1 image" if one.images else ""
    return Text.assemble(
        (f"{one.place:<6}", "bold"), f"{one.tokens:>8,} tokens  ", sanitize_line(one.name), (images, QUIET)
    )


def _short(text: str) -> str:
    line = sanitize_line(next((row for row in text.splitlines() if row.strip()), "")).strip()
    return line if len(line) <= _QUESTION else f"{line[:_QUESTION]}…"
