"""The input line: an editor of one or more rows with history, search, suggestions and completion."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from itertools import islice

from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import (
    CompleteEvent,
    Completer,
    Completion,
    DummyCompleter,
    DynamicCompleter,
    ThreadedCompleter,
)
from prompt_toolkit.document import Document
from prompt_toolkit.filters import (
    Condition,
    emacs_insert_mode,
    has_completions,
    has_focus,
    is_searching,
    vi_insert_mode,
    vi_navigation_mode,
)
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent, merge_key_bindings
from prompt_toolkit.key_binding.bindings.auto_suggest import load_auto_suggest_bindings
from prompt_toolkit.key_binding.key_bindings import KeyBindingsBase
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import ConditionalContainer, Window
from prompt_toolkit.layout.containers import AnyContainer
from prompt_toolkit.layout.controls import BufferControl
from prompt_toolkit.layout.dimension import Dimension
from prompt_toolkit.layout.menus import CompletionsMenuControl
from prompt_toolkit.layout.processors import (
    AppendAutoSuggestion,
    HighlightIncrementalSearchProcessor,
    Processor,
    TabsProcessor,
    Transformation,
    TransformationInput,
)
from prompt_toolkit.search import SearchDirection, start_search, stop_search
from prompt_toolkit.widgets import SearchToolbar

from toolchat.ui.input_history import FoldedHistory
from toolchat.ui.pastes import PasteLabels, Pastes
from toolchat.ui.text.sanitize import stand_ins

PROMPT = "› "
NAVIGATING = "‹ "
"""The prompt while keys move, in vi's navigation mode."""
CONTINUED = "  "
COMPLETION_ROWS = 6
LONGEST_LINE = 2048
"""Characters of a line that are laid out."""

_MENTION = re.compile(r"(?<!\S)@\S*\Z")
_SPECIAL = ("/", "!", " ")
"""What a line may begin with that is no question."""
_SURROGATES = re.compile("[\ud800-\udfff]")


def is_mention_begun(text: str) -> bool:
    """Whether the cursor behind `text` is in the name of a file that is to go along."""
    return _MENTION.search(text) is not None


def names_files(pasted: str) -> bool:
    """Whether a paste, among other words, names files that are here, or resources: only who types `@path` means one."""
    if "@" not in pasted:
        return False
    from toolchat.ui.attached import names_file_among_words

    return names_file_among_words(pasted)


class Visible(Processor):
    """Shows a stand-in, one for one, for what could move the cursor, hide or reorder text; the text stays as it is."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        # As one text: an emoji may be parted over fragments.
        safe = iter(stand_ins("".join(fragment[1] for fragment in transformation_input.fragments)))
        return Transformation(
            [(fragment[0], "".join(islice(safe, len(fragment[1])))) for fragment in transformation_input.fragments]
        )


class LongLine(Processor):
    """Shows of a very long line the part around the cursor: all of it would be laid out again at each key."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        document, row = transformation_input.document, transformation_input.lineno
        length = len(document.lines[row])
        if length <= LONGEST_LINE:
            return Transformation(transformation_input.fragments)
        column = document.cursor_position_col if row == document.cursor_position_row else 0
        # In steps, so that not each key moves what is shown.
        step = LONGEST_LINE // 4
        begin = min(max(column // step * step - LONGEST_LINE // 2, 0), length - LONGEST_LINE)
        end = begin + LONGEST_LINE
        before = f"… {begin:,} characters … " if begin else ""
        after = f" … {length - end:,} characters …" if end < length else ""
        text = "".join(fragment[1] for fragment in transformation_input.fragments)
        # A tab is one column in it: a line of tabs would be four times as long.
        part = text[begin:end].replace("\t", " ")
        return Transformation(
            [("class:auto-suggestion", before), ("", part), ("class:auto-suggestion", after)],
            source_to_display=lambda index: min(max(index - begin, 0), LONGEST_LINE) + len(before),
            display_to_source=lambda index: min(max(index - len(before), 0), LONGEST_LINE) + begin,
        )


class Watched(Completer):
    """Another completer, of which is known while it is looking; `done` is called when it has ended."""

    def __init__(self, completer: Completer, done: Callable[[], None]) -> None:
        self._completer = completer
        self._done = done
        self.is_looking = False

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        return self._completer.get_completions(document, complete_event)

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        self.is_looking = True
        try:
            async for completion in self._completer.get_completions_async(document, complete_event):
                yield completion
        finally:
            self.is_looking = False
            self._done()


class InputLine:
    """The editor, and the rows below it that belong to it. Enter hands its text to `submit`."""

    def __init__(
        self,
        history: History,
        submit: Callable[[str, str], None],
        *,
        completer: Callable[[], Completer | None],
        most_rows: Callable[[], int],
        pasted: Callable[[str], str | None] = lambda text: None,
        edit: Callable[[], None] = lambda: None,
        drop: Callable[[], bool] = lambda: False,
    ) -> None:
        """`submit` is given the text, and of it what was typed and not pasted. `pasted` is asked what stands for a
        paste, None for itself; `edit` opens an editor; `drop` is Backspace in an empty line, and False does nothing.
        """
        self._submit = submit
        self._pasted = pasted
        self._edit = edit
        self._drop = drop
        self._pastes = pastes = Pastes()
        self._left = (0, 0)
        """Where in the history, and in its line, a search began."""
        self._entered: set[str] = set()
        self._tab: Document | None = None
        """Where Tab was pressed while completions were looked for, which is then done."""
        self._looking = Watched(
            ThreadedCompleter(DynamicCompleter(lambda: completer() or DummyCompleter())),
            # Later: then what was found is in the menu.
            lambda: self._soon(self._looked),
        )
        search = SearchToolbar(backward_search_prompt="search back: ", forward_search_prompt="search: ")
        self.buffer = Buffer(
            history=FoldedHistory(history, pastes, names_files),
            multiline=True,
            auto_suggest=AutoSuggestFromHistory(),
            completer=self._looking,
            complete_while_typing=Condition(
                lambda: self.buffer.text.startswith("/") or is_mention_begun(self.buffer.document.text_before_cursor)
            ),
        )
        control = BufferControl(
            self.buffer,
            search_buffer_control=search.control,
            preview_search=True,
            input_processors=[
                LongLine(),
                HighlightIncrementalSearchProcessor(),
                TabsProcessor(tabstop=4, char1=" ", char2=" "),
                AppendAutoSuggestion(),
                PasteLabels(pastes),
                Visible(),
            ],
        )
        self.window = Window(
            control,
            height=lambda: Dimension(min=1, max=most_rows()),
            wrap_lines=True,
            dont_extend_height=True,
            get_line_prefix=self._prefix,
        )
        menu = Window(
            CompletionsMenuControl(),
            height=Dimension(min=1, max=COMPLETION_ROWS),
            dont_extend_height=True,
            dont_extend_width=True,
        )
        here = has_focus(self.buffer)
        self.rows: list[AnyContainer] = [
            self.window,
            ConditionalContainer(menu, has_completions & here),
            search,
        ]
        self.bindings: KeyBindingsBase = merge_key_bindings([load_auto_suggest_bindings(), self._keys()])

    @property
    def is_empty(self) -> bool:
        return not self.buffer.text

    @property
    def is_blank(self) -> bool:
        return not self.buffer.text.strip()

    @property
    def text(self) -> str:
        """The whole text, with what was pasted."""
        return self._pastes.unfold(self.buffer.text)

    def replace(self, text: str) -> None:
        """Have the line hold `text`, which an editor has made of it."""
        self.buffer.save_to_undo_stack()
        folded = self._pastes.fold_known(text)
        self.buffer.document = Document(folded, len(folded))

    def clear(self) -> None:
        """Empty the line; Ctrl-_ brings its text back."""
        # Back to the newest line: one of the history that was gone to stays what it was, and Up finds it again.
        self.buffer.reset(self.buffer.document)
        self.buffer.save_to_undo_stack()
        self.buffer.document = Document()

    def put(self, text: str, words: Collection[str] = ()) -> None:
        """Put `text` before what is there, the cursor at the end of all.

        `words` in it name files, or resources, that did not go along: they stay words, unless `text` was entered here.
        """
        entered = text.strip() in self._entered
        text = self._pastes.fold_again(text)
        if not entered:
            text = self._pastes.fold_words(text, words)
        whole = f"{text}\n{self.buffer.text}" if self.buffer.text.strip() else text
        self.buffer.save_to_undo_stack()
        self.buffer.document = Document(whole, len(whole))

    def pick(self, text: str) -> None:
        """Put the beginning of a command into the line, and offer what may follow: arrows choose, Enter takes."""
        self.put(text)
        self.buffer.start_completion(select_first=False)

    @staticmethod
    def _soon(call: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(call)

    def _offers(self) -> bool:
        """Whether there is a completion to choose."""
        return self.buffer.complete_state is not None and bool(self.buffer.complete_state.completions)

    def _begin_tab(self) -> None:
        """Complete, now or once those who look for completions because of the last key have ended."""
        if self._looking.is_looking:
            self._tab = self.buffer.document
        elif self.buffer.complete_state is None:
            self.buffer.start_completion(insert_common_part=True)
        else:
            self.buffer.complete_next()

    def _looked(self) -> None:
        if self._tab is not None and not self._looking.is_looking:
            pressed, self._tab = self._tab, None
            if pressed == self.buffer.document:
                self._begin_tab()

    def _prefix(self, line: int, wrapped: int) -> str:
        if (line, wrapped) != (0, 0):
            return CONTINUED
        return NAVIGATING if vi_navigation_mode() and not is_searching() else PROMPT

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        here = has_focus(self.buffer)
        # As prompt-toolkit's own Tab: in vi's other modes, also behind an operator and in a selection, it does nothing.
        inserting = vi_insert_mode | emacs_insert_mode

        @keys.add("enter", filter=here)
        def _enter(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if buffer.document.text_before_cursor.endswith("\\") and buffer.document.is_cursor_at_the_end:
                buffer.delete_before_cursor(1)
                buffer.insert_text("\n")
                return
            parts = self._pastes.typed_parts(_SURROGATES.sub("�", buffer.text))
            text = "".join(part for part, _ in parts)
            if parts and not parts[0][1] and text.startswith(_SPECIAL):
                from toolchat.ui.commands.base import as_line  # the prompt is not to wait for it

                # What was pasted is no command, whatever it begins with.
                text = as_line(text)
            typed = " ".join(part for part, is_typed in parts if is_typed)
            if text.strip():
                buffer.append_to_history()
                self._entered.add(text.strip())
            buffer.reset()
            self._submit(text, typed)

        @keys.add(Keys.BracketedPaste, filter=here)
        def _paste(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            text = event.data.replace("\r\n", "\n").replace("\r", "\n")
            instead = self._pasted(text)
            if instead is not None:
                # Undo brings the text itself.
                buffer.save_to_undo_stack()
                buffer.insert_text(text)
                buffer.save_to_undo_stack()
                buffer.delete_before_cursor(len(text))
                buffer.insert_text(instead)
                return
            buffer.insert_text(self._pastes.fold(text, short_too=names_files(text)))

        @keys.add("tab", filter=here & inserting & ~Condition(self._offers))
        def _complete(event: KeyPressEvent) -> None:
            # Behind what the last key has begun, which prompt-toolkit would take for the answer to this one.
            self._soon(self._begin_tab)

        @keys.add("c-g", filter=here & ~is_searching)
        def _open_editor(event: KeyPressEvent) -> None:
            self._edit()

        @keys.add("backspace", filter=here & Condition(lambda: not self.buffer.text))
        def _drop_last(event: KeyPressEvent) -> None:
            self._drop()

        @keys.add("escape", "enter", filter=here)
        @keys.add("c-j", filter=here)
        def _new_line(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add("c-r", filter=here)
        @keys.add("c-s", filter=here)
        def _search(event: KeyPressEvent) -> None:
            back = event.key_sequence[-1].key == "c-r"
            self._left = (self.buffer.working_index, self.buffer.cursor_position)
            start_search(direction=SearchDirection.BACKWARD if back else SearchDirection.FORWARD)

        @keys.add("c-c", filter=is_searching)
        @keys.add("c-g", filter=is_searching)
        def _leave_search(event: KeyPressEvent) -> None:
            stop_search()
            # Searching on, by another Ctrl-R, has gone to the line found before.
            self.buffer.working_index, self.buffer.cursor_position = self._left

        @keys.add("escape", filter=here & has_completions, eager=True)
        def _close_menu(event: KeyPressEvent) -> None:
            event.current_buffer.cancel_completion()

        return keys
