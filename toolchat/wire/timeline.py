"""The turns of a chat and every state that they have been in: the way back, and the way to what was left.

What the model is sent (`toolchat.chat.conversation`) and what a person is shown (`toolchat.store.transcript`) are two
timelines that the same events move, so that both agree on what an undo undoes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class _Numbered(Protocol):
    @property
    def number(self) -> int: ...


T = TypeVar("T", bound=_Numbered)


@dataclass(frozen=True, slots=True, eq=False)
class Mark(Generic[T]):
    """A state to go back to. It costs as much as what was changed: states share what they have in common."""

    before: Mark[T] | None
    """What an undo goes back to."""
    edit: str
    """What the last step was that led here; empty for a turn, or a beginning."""
    last: T | None
    whole: tuple[T, ...] | None
    """All turns; None where they are those of `before`, and `last`."""

    @property
    def turns(self) -> tuple[T, ...]:
        added: list[T] = []
        mark: Mark[T] | None = self
        while mark is not None and mark.whole is None:
            added += [mark.last] if mark.last is not None else []
            mark = mark.before
        begin = mark.whole if mark is not None and mark.whole is not None else ()
        return (*begin, *reversed(added))


class Timeline(Generic[T]):
    """Turns in order, oldest first. Each turn and each edit is a step; an undo goes back one step.

    Turns that an undo or a branch leaves stay within reach by their numbers, until all is cleared.

    A turn begins, goes on and ends without a look at the turns before it: a chat of a thousand turns is as quick as
    one of ten.
    """

    def __init__(self) -> None:
        self._turns: list[T] = []
        self._whole: tuple[T, ...] | None = ()
        """The turns as a tuple; None where nobody has asked for it since they changed."""
        self.version = 0
        """Another number after each change of the turns."""
        self._before: Mark[T] | None = None
        self._edit = ""
        self._appended = False
        self._left: dict[int, Mark[T]] = {}
        """The latest state of those in which a turn was the last one, by its number, once it was not any more."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Timeline):
            return NotImplemented
        mine, theirs = self._reachable(), other._reachable()
        if mine.keys() != theirs.keys():
            return False
        seen: set[tuple[int, int]] = set()
        return all(_same(mine[number], theirs[number], seen) for number in mine)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def _reachable(self) -> dict[int, Mark[T]]:
        return self._left | {self._last: self.mark()}

    @property
    def turns(self) -> tuple[T, ...]:
        """All of them. The first to ask after a change has them copied: ask for `last` or `len` where that will do."""
        if self._whole is None:
            self._whole = tuple(self._turns)
        return self._whole

    @property
    def last(self) -> T | None:
        """The last turn; None where there is none."""
        return self._turns[-1] if self._turns else None

    def __len__(self) -> int:
        return len(self._turns)

    def __iter__(self) -> Iterator[T]:
        """The turns, for who does not look at all of them."""
        return iter(self._turns)

    @property
    def _last(self) -> int:
        return self._turns[-1].number if self._turns else 0

    def _put(self, turns: Sequence[T]) -> None:
        self._turns, self._whole = list(turns), None
        self.version += 1

    @property
    def edit(self) -> str:
        """The edit that an undo would undo; empty where it would take a turn back."""
        return self._edit

    def mark(self) -> Mark[T]:
        return Mark(self._before, self._edit, self.last, None if self._appended else self.turns)

    def rewind(self, mark: Mark[T]) -> None:
        """Be as at `mark`. What was since is forgotten."""
        self._put(mark.turns)
        self._before, self._edit = mark.before, mark.edit
        self._appended = mark.whole is None

    def begin(self, turn: T) -> None:
        """A new turn, as a step of its own."""
        before, last = self.mark(), self._last
        self._turns.append(turn)
        self._whole = None
        self.version += 1
        self._before, self._edit, self._appended = before, "", True
        self._leave(last, before)

    def change_last(self, turn: T) -> None:
        """Have `turn` in place of the last one: it goes on. No step."""
        self._turns[-1], self._whole = turn, None
        self.version += 1

    def go_on(self, turn: T) -> None:
        """Have `turn` in place of the last one, which was over and goes on: a step only behind another edit."""
        if self._edit:
            self.edited("retry", (*self.turns[:-1], turn))
        else:
            self.change_last(turn)

    def change(self, turns: Sequence[T]) -> None:
        """Have these turns in place of those that there are; the last one is the same. No step."""
        self._put(turns)
        self._appended = False

    def edited(self, edit: str, turns: Sequence[T]) -> None:
        """Have these turns from now on, as a step with a name."""
        before, last = self.mark(), self._last
        self._put(turns)
        self._before, self._edit, self._appended = before, edit, False
        self._leave(last, before)

    def undo(self) -> bool:
        """Go back one step; False where there is none."""
        if self._before is None:
            return False
        left, last = self.mark(), self._last
        self.rewind(self._before)
        self._leave(last, left)
        return True

    def take_back(self) -> None:
        """Be without the last turn: a step back where its own was the last step, else a step of its own."""
        if self._edit or self._before is None:
            self.edited("retry", self.turns[:-1])
        else:
            self.undo()

    def branch(self, number: int) -> None:
        """Have the turns that there were when this one was the last; 0 for none at all. It is a step.

        Raises ValueError for one that is out of reach.
        """
        self.edited("branch", self.until(number))

    def until(self, number: int) -> tuple[T, ...]:
        """The turns that `branch` would have. Raises ValueError."""
        if number == 0:
            return ()
        if number != self._last and number in self._left:
            return self._left[number].turns
        at = next((at for at, turn in enumerate(self.turns) if turn.number == number), None)
        if at is None:
            raise ValueError(f"there is no turn {number}")
        return self.turns[: at + 1]

    def reachable(self) -> list[tuple[T, int]]:
        """Every turn that `branch` can go to, by number, with the number of the one before it; 0 for none."""
        found: dict[int, tuple[T, int]] = {}
        for mark in self._left.values():
            if mark.last is not None:
                before = mark.before.last if mark.whole is None and mark.before is not None else None
                if mark.whole is not None and len(mark.whole) > 1:
                    before = mark.whole[-2]
                found[mark.last.number] = (mark.last, before.number if before is not None else 0)
        before_number = 0
        for turn in self.turns:
            found[turn.number] = (turn, before_number)
            before_number = turn.number
        return [found[number] for number in sorted(found)]

    def clear(self) -> None:
        """Forget every turn, also those that were left."""
        self._put(())
        self._before, self._edit, self._appended, self._left = None, "", False, {}

    def _leave(self, last: int, mark: Mark[T]) -> None:
        """Keep a state whose last turn is not the last one any more."""
        if last and last != self._last:
            self._left[last] = mark


def _same(mine: Mark[T], theirs: Mark[T], seen: set[tuple[int, int]]) -> bool:
    for one, other in zip(_back(mine), _back(theirs), strict=False):
        if (id(one), id(other)) in seen:
            return True
        seen.add((id(one), id(other)))
        if (one.edit, one.last, one.whole) != (other.edit, other.last, other.whole):
            return False
        if (one.before is None) is not (other.before is None):
            return False
    return True


def _back(mark: Mark[T]) -> Iterator[Mark[T]]:
    at: Mark[T] | None = mark
    while at is not None:
        yield at
        at = at.before
