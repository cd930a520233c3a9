"""Files and folders that another user of the machine put where toolchat looks: see "Files" in docs/security.md."""

from __future__ import annotations

import fcntl
import grp
import os
import pwd
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from attack_bench import NOBODY
from attacked_folder import GREET, Attacked, chat

from toolchat.engine.local import new_log
from toolchat.models.card import sampling
from toolchat.models.demo import build as demo
from toolchat.private_file import (
    DistrustedError,
    PrivateFile,
    UnfitFileError,
    _own_group,
    distrusted,
    open_private,
    private_folder,
    read_believed,
)
from toolchat.settings import resolve
from toolchat.store.grants import GrantStore
from toolchat.store.record import SessionRecord
from toolchat.store.state import open_state
from toolchat.tools.code import read_code
from toolchat.tools.host import client
from toolchat.tools.rules import Grant
from toolchat.tools.yaml_file import compose
from toolchat.wire.errors import EngineError, ToolchatError, UsageError

GRANT = Grant("d1", None, "delete", "mine:delete")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root to give a file to another user")


def linked_by_another(path: Path, target: Path) -> None:
    path.symlink_to(target)
    os.lchown(path, NOBODY, -1)


def prepared(tmp_path: Path) -> tuple[Attacked, Path]:
    """A folder with evil tools, and a file of the user's own, as from a clone, that says they are accepted."""
    attacked = Attacked.below(tmp_path)
    attacked.write(mine=attacked.evil + GREET)
    attacked.tools("./mine.py:greet")
    code = read_code(attacked.folder / "tools.yaml")
    row = {"files": code.contents(), "allows": True}
    data = attacked.folder / "data.json"
    PrivateFile(data).change(lambda _: {"version": 2, "files": {str(code.real): row}})
    return attacked, data


@pytest.mark.process
@needs_root
def test_a_link_by_another_user_to_a_file_of_the_users_accepts_nothing(tmp_path: Path) -> None:
    attacked, data = prepared(tmp_path)
    state = tmp_path / "state" / "toolchat"
    state.mkdir(parents=True, mode=0o700)
    (state / "trusted-tools.json").symlink_to(data)
    # A link of the user's own, as who keeps such files elsewhere has them, is followed.
    own = attacked("tools", "list", variables={"XDG_STATE_HOME": str(state.parent)})
    assert (own.code, attacked.ran) == (0, True)
    (attacked.folder / "ran").unlink()
    os.lchown(state / "trusted-tools.json", NOBODY, -1)
    done = attacked("tools", "list", variables={"XDG_STATE_HOME": str(state.parent)})
    assert done.code == 2
    assert "trusted-tools.json is ignored: it belongs to another user" in done.err
    assert not attacked.ran


@pytest.mark.process
def test_what_was_found_in_a_folder_that_had_to_be_closed_accepts_nothing_later_either(tmp_path: Path) -> None:
    attacked, data = prepared(tmp_path)
    state = tmp_path / "state" / "toolchat"
    state.mkdir(parents=True)
    data.rename(state / "trusted-tools.json")
    state.chmod(0o777)
    first = attacked("tools", "list", variables={"XDG_STATE_HOME": str(state.parent)})
    assert "trusted-tools.json is ignored: others could write in its folder; it is set aside as" in first.err
    assert stat.S_IMODE(state.stat().st_mode) == 0o755
    second = attacked("tools", "list", variables={"XDG_STATE_HOME": str(state.parent)})
    assert (first.code, second.code, attacked.ran) == (2, 2, False)
    assert len(list(state.glob("trusted-tools.json.set-aside-*"))) == 1


@needs_root
def test_grants_and_settings_behind_a_link_of_another_users_count_for_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clone = tmp_path / "clone"
    GrantStore(clone).add(GRANT)
    (clone / "c.toml").write_text('tools = "/tmp/evil/tools.yaml"\n')
    linked_by_another(tmp_path / "grants.json", clone / "grants.json")
    linked_by_another(tmp_path / "config.toml", clone / "c.toml")
    assert GrantStore(clone).granted() == (GRANT,)
    assert GrantStore(tmp_path).granted() == ()
    assert resolve({}, environment={}, file=clone / "c.toml").tools is not None
    assert resolve({}, environment={}, file=tmp_path / "config.toml").tools is None
    assert capsys.readouterr().err.splitlines() == [
        f"toolchat: {tmp_path / name} is ignored: it belongs to another user" for name in ("grants.json", "config.toml")
    ]


@needs_root
def test_a_folder_or_a_link_to_a_folder_of_another_users_is_not_written_in(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    (tmp_path / "mine").mkdir()
    linked_by_another(tmp_path / "link", tmp_path / "mine")
    os.chown(theirs, NOBODY, -1)
    for folder in (theirs, tmp_path / "link", theirs / "below"):
        with pytest.raises(DistrustedError, match="belongs to another user"):
            private_folder(folder)
        assert isinstance(SessionRecord(folder, "session").failure, DistrustedError)
        with pytest.raises(ToolchatError, match=r"is not written: .* belongs to another user"):
            GrantStore(folder).add(GRANT)
    assert not list((tmp_path / "mine").iterdir())


@pytest.mark.parametrize(("mode", "believed"), [(0o777, False), (0o770, False), (0o1777, True), (0o755, True)])
def test_a_file_is_believed_only_where_nobody_else_can_change_the_way_to_it(
    tmp_path: Path, mode: int, believed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolchat.private_file._own_group", lambda group: False)
    state = tmp_path / "share" / "toolchat"
    GrantStore(state).add(GRANT)
    (tmp_path / "share").chmod(mode)
    assert GrantStore(state).granted() == ((GRANT,) if believed else ())
    assert distrusted(state / "grants.json") == (
        None if believed else f"others may write in {tmp_path / 'share'}; run: chmod go-w {tmp_path / 'share'}"
    )
    # Through a link as well, and by a way that goes back and forth.
    (tmp_path / "link").symlink_to(state)
    for way in (tmp_path / "link" / "grants.json", state / ".." / "toolchat" / "grants.json"):
        assert (distrusted(way) is None) is believed
    open_state(state)
    assert (SessionRecord(state, "session").failure is None) is believed


@needs_root
def test_a_folder_of_the_users_behind_a_link_of_another_users_is_left_as_it_is(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "package.json").touch()
    project.chmod(0o777)
    linked_by_another(tmp_path / "toolchat", project)
    open_state(tmp_path / "toolchat")
    assert GrantStore(tmp_path / "toolchat").granted() == ()
    assert not (project / "logs").exists()
    with pytest.raises(DistrustedError):
        private_folder(tmp_path / "toolchat" / "logs")
    assert stat.S_IMODE(project.stat().st_mode) == 0o777
    assert [path.name for path in project.iterdir()] == ["package.json"]


def test_an_engine_whose_log_others_could_lead_elsewhere_writes_it_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    log = new_log(tmp_path / "open" / "logs")
    assert log.parent.parent == tmp_path
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("kind", ["link", pytest.param("foreign link", marks=needs_root), "hard link"])
def test_a_log_or_a_history_that_leads_to_a_file_of_the_users_is_not_written(tmp_path: Path, kind: str) -> None:
    precious, log = tmp_path / "bashrc", tmp_path / "logs" / "tools.log"
    precious.write_text("# mine\n")
    log.parent.mkdir(mode=0o700)
    if kind == "hard link":
        log.hardlink_to(precious)
    else:
        log.symlink_to(precious)
    if kind == "foreign link":
        os.lchown(log, NOBODY, -1)
    for flags in (os.O_WRONLY | os.O_APPEND | os.O_CREAT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC):
        if kind == "link":  # the user's own is followed
            os.close(open_private(log, os.O_WRONLY | os.O_APPEND))
            continue
        with pytest.raises(DistrustedError):
            os.close(open_private(log, flags))
    assert precious.read_text() == "# mine\n"


@pytest.mark.process
@needs_root
def test_what_a_tool_prints_is_not_written_into_a_file_that_a_link_of_another_users_leads_to(tmp_path: Path) -> None:
    attacked = Attacked.below(tmp_path)
    attacked.write(mine='def go() -> str:\n    """Go."""\n    raise ValueError("touch /tmp/pwned")\n')
    log, precious = tmp_path / "logs" / "tools.log", tmp_path / "bashrc"
    log.parent.mkdir(mode=0o700)
    precious.touch()
    linked_by_another(log, precious)
    with chat(attacked.tools("./mine.py:go"), log=log) as tools:
        assert "ValueError" in tools.call("go")
    assert precious.read_text() == ""


def _list_with(*named: int) -> bytes:
    """A POSIX access control list in which these users may write."""
    none = 0xFFFFFFFF
    rows = [(1, 6, none), *((2, 6, user) for user in named), (4, 4, none), (0x10, 6, none), (0x20, 4, none)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)


@pytest.mark.parametrize("place", ["config.toml", "."])
def test_an_access_control_list_that_lets_others_write_is_seen(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config" / "config.toml"
    file.parent.mkdir()
    file.write_text("max_tokens = 100\n")
    # The group's bits of the mode are then the list's mask, of a group that is the user's own.
    monkeypatch.setattr("toolchat.private_file._own_group", lambda group: True)
    for path in (file, file.parent):
        path.chmod(0o664 if path == file else 0o775)
    assert read_believed(file, 100)
    try:
        os.setxattr(file.parent / place, "system.posix_acl_access", _list_with(NOBODY))
    except OSError:
        pytest.skip("the file system knows no access control lists")
    with pytest.raises(DistrustedError, match="others may write"):
        read_believed(file, 100)


@pytest.mark.parametrize(
    ("members", "others", "own"),
    [
        ([], [], True),
        (["me"], [("me2", 1000, 1000)], True),
        ([], [("bob", 1234, 1000)], False),
        (["bob"], [], False),
    ],
)
def test_a_group_is_the_users_own_only_if_no_other_account_has_it(
    members: list[str], others: list[tuple[str, int, int]], own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = [
        SimpleNamespace(pw_name=name, pw_uid=user, pw_gid=group)
        for name, user, group in [("me", 1000, 1000), ("root", 0, 0), *others]
    ]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(pwd, "getpwuid", lambda user: accounts[0])
    monkeypatch.setattr(pwd, "getpwall", lambda: accounts)
    monkeypatch.setattr(grp, "getgrgid", lambda group: SimpleNamespace(gr_name="me", gr_mem=members))
    _own_group.cache_clear()
    try:
        assert _own_group(1000) is own
    finally:
        _own_group.cache_clear()


@pytest.mark.process
def test_each_folder_of_the_cache_is_the_users_alone_whatever_the_umask(tmp_path: Path) -> None:
    attacked = Attacked.below(tmp_path)
    attacked.write(mine=GREET)
    attacked.tools("./mine.py:greet")
    before = os.umask(0)
    try:
        done = attacked(
            "tools", "list", "--tools", "tools.yaml", variables={"XDG_CACHE_HOME": str(tmp_path / "c" / "d")}
        )
    finally:
        os.umask(before)
    assert done.code == 0, done.err
    made = [tmp_path / "c", *(tmp_path / "c").rglob("*")]
    assert tmp_path / "c/d/toolchat/bytecode" in made
    assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in made} == {"0o700"}


@pytest.mark.parametrize("opened", ["bytecode", "."])
def test_bytecode_that_others_could_plant_is_not_used(
    tmp_path: Path, opened: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "cache_folder", lambda: tmp_path / "cache")
    folder = client._bytecode_folder()
    assert folder == tmp_path / "cache" / "bytecode"
    (folder / "lib.pyc").touch()
    assert client._bytecode_folder() == folder
    assert (folder / "lib.pyc").exists()
    (tmp_path / "cache" / opened).chmod(0o777)
    assert client._bytecode_folder() == folder
    assert not (folder / "lib.pyc").exists()
    assert {stat.S_IMODE(path.stat().st_mode) & 0o022 for path in (folder, folder.parent)} == {0}


@needs_root
@pytest.mark.parametrize("owned", ["bytecode", "."])
def test_a_folder_for_bytecode_of_another_users_is_not_used(
    tmp_path: Path, owned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "cache_folder", lambda: tmp_path / "cache")
    os.chown(client._bytecode_folder().parent / owned, NOBODY, -1)
    folder = client._bytecode_folder()
    assert not folder.is_relative_to(tmp_path)
    with pytest.raises(OSError, match="Not a directory"):
        (folder / "lib.pyc").read_bytes()


@contextmanager
def quick(seconds: int = 5) -> Iterator[None]:
    """A reader that waits for the writer of a pipe fails here."""
    import signal

    def late(*_: object) -> None:
        raise AssertionError("it waits for the writer of a pipe")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _tools_file(folder: Path) -> Callable[[], object]:
    os.mkfifo(folder / "tools.yaml")
    return lambda: compose(folder / "tools.yaml")


def _generation_config(folder: Path) -> Callable[[], object]:
    os.mkfifo(folder / "generation_config.json")
    return lambda: sampling(folder, "name")


def _reference(folder: Path) -> Callable[[], object]:
    from toolchat.models import hub_cache

    (folder / "refs").mkdir()
    os.mkfifo(folder / "refs" / "main")
    return lambda: hub_cache._snapshot(folder)


def _tokenizer(folder: Path) -> Callable[[], object]:
    from toolchat.mistral.vocabulary import refusal

    os.mkfifo(folder / "tekken.json")
    return lambda: refusal(folder)


def _journal(folder: Path) -> Callable[[], object]:
    from toolchat.models import parts

    file = parts.LargeFile(folder / "blob", 10, "0" * 64, folder / "lock")
    os.mkfifo(file.journal)
    return lambda: parts.bytes_there(file)


@pytest.mark.parametrize("make", [_tools_file, _generation_config, _reference, _tokenizer, _journal])
def test_a_pipe_that_takes_a_files_place_is_not_waited_for(
    tmp_path: Path, make: Callable[[Path], Callable[[], object]]
) -> None:
    read = make(tmp_path)
    with quick():
        if make is _tools_file:
            with pytest.raises(UsageError, match="is a pipe; expected a file"):
                read()
        else:
            read()


def test_weights_that_become_a_pipe_are_not_waited_for(tmp_path: Path) -> None:
    from toolchat.models import files

    os.mkfifo(tmp_path / "consolidated.safetensors")
    os.mkfifo(tmp_path / "consolidated.safetensors.index.json")
    with quick():
        assert "cannot be read: is a pipe" in files._damage(tmp_path / "consolidated.safetensors")
        with pytest.raises(EngineError, match="is a pipe"):
            files._indexed(tmp_path / "consolidated.safetensors.index.json")


def test_a_lock_of_the_demo_model_that_somebody_holds_is_told_and_not_waited_for(tmp_path: Path) -> None:
    models = demo.demo_folder(tmp_path).parent
    models.mkdir(parents=True)
    with (models / ".demo.lock").open("w") as held, quick():
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(EngineError, match=r"another program holds .*\.demo\.lock") as caught:
            demo.remove(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert demo.remove(tmp_path) is False


def test_a_file_that_is_none_is_told_before_it_is_distrusted(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path, 0o666)
    path.chmod(0o666)
    with pytest.raises(UnfitFileError, match="is a pipe"):
        read_believed(path, 1)
    assert distrusted(path) is None


def test_a_missing_file_behind_an_open_folder_is_nothing_to_warn_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    resolve({}, environment={}, file=tmp_path / "open" / "config.toml")
    assert PrivateFile(tmp_path / "open" / "below" / "grants.json").read() is None
    assert capsys.readouterr().err == ""
