from __future__ import annotations

import json
import multiprocessing
import stat
from pathlib import Path

import pytest

from toolchat import private_file
from toolchat.store.grants import GrantStore
from toolchat.tools.rules import Grant
from toolchat.wire.errors import ToolchatError

ANY = Grant("d1", None, "delete", "mine:delete")
EXACT = Grant("d1", '{"path":"a"}', "delete", "mine:delete")
OTHER = Grant("d2", None, "move", "mine:move")


def test_grants_are_kept_in_order_and_once(tmp_path: Path) -> None:
    for grant in (ANY, EXACT, OTHER, EXACT):
        GrantStore(tmp_path).add(grant)
    granted = GrantStore(tmp_path).granted()
    assert granted == (ANY, OTHER, EXACT)
    assert [(grant.tool, grant.callable_ref) for grant in granted] == [
        ("delete", "mine:delete"),
        ("move", "mine:move"),
        ("delete", "mine:delete"),
    ]


def test_the_file_is_the_users_alone(tmp_path: Path) -> None:
    state = tmp_path / "deep" / "state"
    GrantStore(state).add(ANY)
    assert stat.S_IMODE((state / "grants.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert sorted(path.name for path in state.iterdir()) == ["grants.json", "grants.lock"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"null",
        b"[" * 100_000,
        b'{"version": 2, "grants": [{"digest": "d1", "arguments": null, "tool": "delete", "callable_ref": "m:d"}]}',
        b'{"version": 1, "grants": 3}',
        b'{"version": 1, "grants": [3, {"digest": 1, "arguments": null, "tool": "delete", "callable_ref": "m:d"}]}',
        b'{"version": 1, "grants": [{"digest": "d1", "arguments": {}, "tool": "delete", "callable_ref": "m:d"}]}',
        b'{"version": 1, "grants": [{"digest": "d1", "tool": "delete", "callable_ref": "m:d"}]}',
        b'{"version": 1, "grants": [{"digest": "", "arguments": null, "tool": "delete", "callable_ref": "m:d"}]}',
    ],
)
def test_a_broken_file_grants_nothing_and_is_mended(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "grants.json").write_bytes(data)
    assert GrantStore(tmp_path).granted() == ()
    GrantStore(tmp_path).add(ANY)
    assert GrantStore(tmp_path).granted() == (ANY,)


def test_a_broken_row_takes_no_other_with_it(tmp_path: Path) -> None:
    GrantStore(tmp_path).add(ANY)
    file = tmp_path / "grants.json"
    data = json.loads(file.read_text())
    data["grants"].insert(0, {"digest": 7})
    file.write_text(json.dumps(data))
    assert GrantStore(tmp_path).granted() == (ANY,)


@pytest.mark.parametrize(
    ("name", "left"), [("delete", (OTHER,)), ("move", (ANY, EXACT)), ("x", (ANY, EXACT, OTHER)), (None, ())]
)
def test_what_is_revoked_is_gone_and_told(tmp_path: Path, name: str | None, left: tuple[Grant, ...]) -> None:
    store = GrantStore(tmp_path)
    for grant in (ANY, EXACT, OTHER):
        store.add(grant)
    revoked = store.revoke(name)
    assert store.granted() == left
    assert set(revoked) == {ANY, EXACT, OTHER} - set(left)


def test_revoking_where_nothing_was_granted_writes_nothing(tmp_path: Path) -> None:
    assert GrantStore(tmp_path / "state").revoke() == ()
    assert not (tmp_path / "state").exists()


def test_a_folder_that_cannot_be_made_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file is in the way")
    with pytest.raises(ToolchatError, match="cannot be written") as raised:
        GrantStore(tmp_path / "state").add(ANY)
    assert "\n" not in str(raised.value)


def add_some(folder: Path, first: int) -> None:
    private_file.LOCK_SECONDS = 60.0  # the others hold it for as long as a busy machine has them wait
    for number in range(first, first + 10):
        GrantStore(folder).add(Grant(f"d{number}", None, "t", "m:t"))


@pytest.mark.long
def test_programs_that_grant_at_once_lose_nothing(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=add_some, args=(tmp_path, first)) for first in (0, 10, 20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert {grant.digest for grant in GrantStore(tmp_path).granted()} == {f"d{number}" for number in range(30)}
