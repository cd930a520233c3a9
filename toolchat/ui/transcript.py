"""The events of a chat as they read in the terminal: what is printed for good, and what is live until it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from toolchat.ui.attached import shown
from toolchat.ui.calls import call_text, image_line, writing_text
from toolchat.ui.cards import Card, seconds
from toolchat.ui.text.cells import cut
from toolchat.ui.text.sanitize import StreamSanitizer, sanitize
from toolchat.ui.text.styles import paint
from toolchat.ui.text.wrapping import wrapped
from toolchat.ui.toolbar import Speed
from toolchat.wire import events
from toolchat.wire.deltas import Usage
from toolchat.wire.events import Event
from toolchat.wire.messages import Image, ToolResult

_TAB = 4
"""Columns from one tab stop to the next."""
_THOUGHTS_KEPT = 1000
"""Characters of folded thinking of which the last row is shown."""
_SHORTEST = 0.05
"""Seconds that thinking takes at least where a model does it."""


class TextStream(Protocol):
    """Takes text as it comes, and gives what is finished and what is not; all as ANSI text made safe."""

    def feed(self, text: str) -> str:
        """What is finished by now and was not given before: whole rows, or nothing."""

    def live(self, rows: int) -> list[str]:
        """The unfinished end, at most so many rows."""

    def finish(self) -> str:
        """All that is left."""

    def resize(self, width: int) -> None:
        """The terminal has so many columns from now on."""


MakeStream = Callable[[int], TextStream]
"""Given the columns."""


ShowPicture = Callable[[Image], str | None]
"""What shows an image in the terminal, beginning and ending with a row; None where it cannot be shown."""


def markdown(color: bool, links: bool = False) -> MakeStream:
    """Renders answers. Its modules take a while to import, which only the first answer is to wait for."""

    def make(width: int) -> TextStream:
        from toolchat.ui.markdown.stream import MarkdownStream

        return MarkdownStream(width, color=color, links=links)

    return make


class LineStream:
    """Text that is no Markdown, in one style: each row is printed as soon as it is complete."""

    def __init__(self, width: int, style: str, *, color: bool) -> None:
        self._width = width
        self._style = style
        self._color = color
        self._rest = ""
        self._column = 0
        """Of the line, which tabs are expanded by."""
        self._broken = False
        """Whether the line goes on after a row that was full: the blanks that it was broken at show nowhere."""
        self._safe = StreamSanitizer()

    def feed(self, text: str) -> str:
        return self._printed(self._safe.feed(text))

    def _printed(self, text: str) -> str:
        *lines, self._rest = (self._rest + self._without_tabs(text)).split("\n")
        rows = []
        for line in lines:
            rows += self._rows(line.rstrip(" "))
            self._broken = False
        *whole, self._rest = self._rows(self._rest) or [""]
        if whole or self._rest:
            self._broken = not self._rest
        return "".join(f"{self._paint(row)}\n" for row in [*rows, *whole])

    def _rows(self, text: str) -> list[str]:
        """The end of a line as rows, of which one of blanks alone may be too wide; none for the blanks of a break."""
        text = text.lstrip(" ") if self._broken else text
        if text.strip(" "):
            return wrapped(text, self._width)
        return [] if self._broken else [text]

    def _without_tabs(self, text: str) -> str:
        before = self._column % _TAB
        text = f"{' ' * before}{text}".expandtabs(_TAB)[before:]
        _, newline, line = text.rpartition("\n")
        self._column = len(line) if newline else self._column + len(line)
        return text

    def live(self, rows: int) -> list[str]:
        return [self._paint(self._rest)] if self._rest.strip(" ") else []

    def finish(self) -> str:
        printed = self._printed(self._safe.finish())
        rest, self._rest = self._rest.rstrip(" "), ""
        return printed + (f"{self._paint(rest)}\n" if rest else "")

    def resize(self, width: int) -> None:
        self._width = width

    def _paint(self, row: str) -> str:
        return paint(row, self._style, color=self._color)


class Thoughts:
    """Thinking that is folded: its end is seen while it comes, and nothing but a row stays."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._words = 0
        self._in_word = False
        self._end = ""
        self._safe = StreamSanitizer()

    def feed(self, text: str) -> None:
        words = len(text.split())
        self._words += words - (self._in_word and bool(words) and not text[:1].isspace())
        self._in_word = bool(text) and not text[-1].isspace()
        self._end = (self._end + self._safe.feed(text))[-_THOUGHTS_KEPT:]

    def live(self, width: int, rows: int, now: float) -> list[str]:
        """How long it takes, and its last row."""
        last = next((line for line in reversed(self._end.split("\n")) if line.strip()), "").expandtabs(_TAB)
        row = wrapped(f"  {last.strip()}", width)[-1]
        return [cut(f"… thinking, {seconds(now - self._began, whole=True)}", width), cut(f"  {row.strip()}", width)][
            :rows
        ]

    def summary(self, now: float) -> str:
        words = "1 word" if self._words == 1 else f"{self._words:,} words"
        took = now - self._began
        # A session that goes on shows it at once: how long it took is not known any more.
        how_long = f" for {seconds(took)}" if took >= _SHORTEST else ""
        return f"… thought{how_long}, {words} (/think)"


class Transcript:
    """Consumes events. Prints by `print_`, whole lines; keeps what is unfinished."""

    def __init__(
        self,
        print_: Callable[[str], None],
        width: Callable[[], int],
        clock: Callable[[], float],
        *,
        color: bool,
        answers: MakeStream | None = None,
        folds_thinking: bool = False,
        picture: ShowPicture = lambda image: None,
    ) -> None:
        """`folds_thinking` shows of the model's thinking only the end while it comes, and then that it was there."""
        self.folds_thinking = folds_thinking
        self._thoughts: Thoughts | None = None
        self._picture = picture
        self._print = print_
        self._width = width
        self._clock = clock
        self._color = color
        self._answers = answers or markdown(color)
        self._stream: TextStream | None = None
        self._thinking = False
        self._last = ""
        self._cards: dict[str, Card] = {}
        self._writing = ""
        """The call that the model is writing, for its live row."""
        self._rounds: list[Usage] = []
        self.speed: Speed | None = None

    @property
    def running(self) -> int:
        """How many calls run now."""
        return sum(card.started is not None for card in self._cards.values())

    def show(self, event: Event) -> None:
        match event.body:
            case events.QuestionAsked(text, images):
                self.question(text, images)
            case events.TextDelta(text):
                self._feed(text, thinking=False)
            case events.ThinkingDelta(text):
                self._feed(text, thinking=True)
            case events.CallWriting(name, size):
                self.end_text()
                self._writing = writing_text(name, size)
            case events.CallProposed(call):
                self.end_text()
                self._writing = ""
                self._cards[call.id] = Card(call)
            case events.CallStarted(call):
                self._cards.setdefault(call.id, Card(call)).start(call, self._clock())
            case events.ToolOutput(call_id, text):
                if (card := self._cards.get(call_id)) is not None:
                    card.say(text)
            case events.CallFinished(result):
                self._finish_call(result)
            case events.EngineState("crashed", detail):
                self.say(f"toolchat: {detail}", "red")
            case events.Notice(text):
                self.say(text, "yellow")
            case events.TurnStarted():
                self._rounds = []
            case events.RoundFinished(_, usage):
                self._rounds.append(usage)
            case events.Interrupted():
                self.end_text()
                self._drop_cards()
                self._print(paint("■ interrupted", "yellow", color=self._color))
            case events.HistoryEdited(events.TurnWithdrawn()):
                self.end_text()
                self._drop_cards()
            case events.HistoryEdited(events.TurnsSummarised(turns, text)):
                what = "1 turn" if len(turns) == 1 else f"{len(turns)} turns"
                self._summary(f"Summary of {what}:", text)
            case events.HistoryEdited(events.SummaryChanged(_, text)):
                self._summary("The summary now:", text)
            case events.TurnFinished():
                self.end_turn()

    def _summary(self, heading: str, text: str) -> None:
        """What the model is sent in place of older turns."""
        self.say(heading)
        width = self._width() - 2
        rows = [row for line in sanitize(text).splitlines() for row in wrapped(line, width) or [""]]
        self._print("\n".join(paint("│ ", "dim", color=self._color) + row for row in rows) + "\n")
        self._last = ""

    def question(self, text: str, images: Sequence[Image] = ()) -> None:
        """The user's own words, as they were typed, and a row for each image that goes along."""
        first, *more = sanitize(shown(text)).split("\n")
        rows = [paint("› ", "bold cyan", color=self._color) + paint(first, "bold", color=self._color)]
        rows += ["  " + paint(row, "bold", color=self._color) for row in more]
        width = self._width() - 2
        rows += [
            "  " + paint(row, "dim", color=self._color)
            for image in images
            for row in wrapped(image_line(image, image.source), width)
        ]
        self._last = ""
        self._print("\n".join(rows))

    def say(self, text: str, style: str = "dim") -> None:
        """A line of toolchat's own, or of the engine's."""
        self.end_text()
        rows = [row for line in sanitize(text).splitlines() for row in wrapped(line, self._width())]
        self._print("\n".join(paint(row, style, color=self._color) for row in rows))

    def end_text(self) -> None:
        """Print what is left of the text that streams."""
        if self._thoughts is not None:
            row = self._thoughts.summary(self._clock())
            self._thoughts = None
            self._print(paint(cut(row, self._width()), "dim italic", color=self._color))
        if self._stream is not None:
            self._print(self._stream.finish())
            self._stream = None

    def end_turn(self) -> None:
        """Print what is left of a turn, however it ended."""
        self.end_text()
        self._drop_cards()
        if self._rounds:
            self.speed = _speed(self._rounds)
        self._print("\n")

    def leave(self) -> None:
        """Print what only the live rows have shown so far: the program ends."""
        self.end_text()
        self._drop_cards()

    def resize(self, width: int) -> None:
        if self._stream is not None:
            self._stream.resize(width)

    def live(self, width: int, rows: int, *, waiting: bool = True) -> list[str]:
        """At most `rows` rows: the end of what streams, or a card for each call, the running ones first, and the call
        that the model is writing.

        `waiting` says whether calls that do not run yet are among them.
        """
        if self._thoughts is not None:
            texts = self._thoughts.live(width - 1, rows, self._clock())
            return [paint(text, "dim italic", color=self._color) for text in texts]
        if self._stream is not None:
            return self._stream.live(rows)
        now = self._clock()
        cards = sorted(
            (card for card in self._cards.values() if waiting or card.started is not None),
            key=lambda card: card.started is None,
        )
        each = [card.live(width, now, color=self._color) for card in cards]
        if self._writing:
            each.append([paint(cut(f"→ {self._writing}", width - 1), "dim", color=self._color)])
        if sum(map(len, each)) > rows:
            each = [card[:1] for card in each]
        if len(each) > rows:
            hidden = len(each) - max(rows - 1, 0)
            each = [*each[: max(rows - 1, 0)], [paint(cut(f"… {hidden} more calls", width), "dim", color=self._color)]]
        return [row for card in each for row in card]

    def _feed(self, text: str, *, thinking: bool) -> None:
        if thinking and (self._thoughts is not None or (self.folds_thinking and not (self._stream and self._thinking))):
            if self._thoughts is None:
                self.end_text()
                self._part("thinking")
                self._thoughts = Thoughts(self._clock())
            self._thoughts.feed(text)
            return
        if self._thoughts is not None:
            self.end_text()
        if self._stream is None or self._thinking != thinking:
            self.end_text()
            width = self._width()
            self._part("thinking" if thinking else "text")
            self._stream = LineStream(width, "dim italic", color=self._color) if thinking else self._answers(width)
            self._thinking = thinking
        self._print(self._stream.feed(text))

    def _finish_call(self, result: ToolResult) -> None:
        card = self._cards.pop(result.call_id, None)
        if card is not None:
            self._part("card")
            self._print(card.finished(result, self._width(), color=self._color))
            for image in result.images:
                if (picture := self._picture(image)) is not None:
                    self._print(picture)

    def _part(self, kind: str) -> None:
        """What comes now is of another kind than what came last: a blank row tells them apart."""
        if self._last not in ("", kind):
            self._print("\n")
        self._last = kind

    def _drop_cards(self) -> None:
        """Those that will have no result: the engine went away before they could be run, or the program ends."""
        for card in self._cards.values():
            self._print(paint(f"■ {call_text(card.call)}", "yellow", color=self._color))
        self._cards.clear()
        self._writing = ""


def _speed(rounds: list[Usage]) -> Speed:
    # The first token of each round is the prompt's doing and not the decoding's.
    tokens = sum(max(usage.completion_tokens - 1, 0) for usage in rounds)
    seconds = sum(usage.seconds - usage.ttft for usage in rounds)
    rate = tokens / seconds if tokens >= 2 and seconds > 0 else None
    cached, new = (sum(counts) for counts in zip(*((one.cached_tokens, one.new_tokens) for one in rounds), strict=True))
    return Speed(rate, rounds[0].ttft, cached, new)
