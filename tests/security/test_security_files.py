"""What lies in the user's folders: see "Files" in docs/security.md."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from attack_bench import NOBODY, environment, folder_of, unprivileged

from toolchat.chat.approval import ApprovalPolicy, PendingCall, Reply, Scope
from toolchat.models.demo import build as demo
from toolchat.models.demo import pins
from toolchat.private_file import PrivateFile, distrusted, private_folder, write_whole
from toolchat.settings import resolve
from toolchat.store.grants import GrantStore
from toolchat.store.state import appendable, open_state
from toolchat.tools.load import load_tools
from toolchat.tools.rules import Grant
from toolchat.tools.toolbox import Tool
from toolchat.wire.errors import EngineError, ToolchatError, UsageError
from toolchat.wire.messages import ToolCall

GRANT = Grant("d1", None, "delete", "mine:delete")
SPARSE = 60 * 10**9
OWN = "version: 1\ntools:\n- callable: ./own.py:f\n"


def run(*arguments: str, cwd: Path, umask: int = 0o022, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "toolchat", *arguments],
        cwd=cwd,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        umask=umask,
        check=False,
    )


def places(folder: Path) -> dict[str, str]:
    names = {"XDG_STATE_HOME": "state", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache"}
    return {variable: str(folder / name) for variable, name in names.items()}


@pytest.mark.process
@pytest.mark.parametrize(
    "command",
    [
        ("tools", "list"),
        ("tools", "trust"),
        ("ask", "--model", "nothing-of-this-name", "question"),
        ("repl", "--plain", "--model", "nothing-of-this-name"),
    ],
)
def test_each_folder_for_state_is_the_users_alone_whatever_command_comes_first(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    if command[-1] == "trust":
        (tmp_path / "tools.yaml").write_text(OWN)
    state = tmp_path / "made" / "here"
    run(*command, cwd=tmp_path, umask=0, **places(tmp_path) | {"XDG_STATE_HOME": str(state)})
    made = [tmp_path / "made", state, *(path for path in state.rglob("*") if path.is_dir())]
    assert state / "toolchat" in made
    assert {str(path): oct(stat.S_IMODE(path.stat().st_mode)) for path in made} == dict.fromkeys(
        map(str, made), "0o700"
    )


def test_a_folder_of_the_users_that_others_may_write_in_is_closed_to_them(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o775)
    GrantStore(state).granted()
    assert stat.S_IMODE(state.stat().st_mode) == 0o755
    state.chmod(0o777)
    private_folder(state)
    assert stat.S_IMODE(state.stat().st_mode) == 0o755


def planted(folder: Path) -> Path:
    """A folder whose tools file is accepted, as far as the state folder says."""
    (folder / "own.py").write_text('def f() -> str:\n    """F."""\n    return ""\n')
    (folder / "tools.yaml").write_text(OWN)
    done = run("tools", "trust", cwd=folder, **places(folder))
    assert done.returncode == 0, done.stderr
    return folder / "state" / "toolchat" / "trusted-tools.json"


@pytest.mark.process
def test_what_the_user_accepted_is_used(tmp_path: Path) -> None:
    planted(tmp_path)
    done = run("tools", "list", cwd=tmp_path, **places(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.process
def test_a_list_of_accepted_files_that_others_may_write_lets_no_code_run(tmp_path: Path) -> None:
    planted(tmp_path).chmod(0o666)
    done = run("tools", "list", cwd=tmp_path, **places(tmp_path))
    warning, error = done.stderr.splitlines()
    assert warning.endswith("trusted-tools.json is ignored: others may write it; run: chmod go-w")
    assert "you have not accepted it" in error
    assert done.returncode == 2


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to give a file to another user")
def test_a_list_of_accepted_files_by_another_user_lets_no_code_run(tmp_path: Path) -> None:
    os.chown(planted(tmp_path), NOBODY, -1)
    done = run("tools", "list", cwd=tmp_path, **places(tmp_path))
    assert "trusted-tools.json is ignored: it belongs to another user" in done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize("mode", [0o666, 0o602, 0o660])
def test_grants_that_others_may_write_grant_nothing(tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # A group that other users are in, or could be.
    monkeypatch.setattr("toolchat.private_file._own_group", lambda group: False)
    GrantStore(tmp_path).add(GRANT)
    assert GrantStore(tmp_path).granted() == (GRANT,)
    (tmp_path / "grants.json").chmod(mode)
    assert GrantStore(tmp_path).granted() == ()


def test_a_group_that_is_the_users_own_is_nobody_else(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.touch()
    file.chmod(0o660)
    import grp
    import pwd

    user = pwd.getpwuid(os.geteuid())
    alone = user.pw_gid == file.stat().st_gid and grp.getgrgid(user.pw_gid).gr_name == user.pw_name
    assert (distrusted(file) is None) == (alone and set(grp.getgrgid(user.pw_gid).gr_mem) <= {user.pw_name})


def test_settings_that_others_may_write_are_ignored_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.toml"
    file.write_text('tools = "/tmp/evil/tools.yaml"\n')
    assert resolve({}, environment={}, file=file).tools == "/tmp/evil/tools.yaml"
    file.chmod(0o666)
    for _ in range(2):
        assert resolve({}, environment={}, file=file).tools is None
    assert capsys.readouterr().err == f"toolchat: {file} is ignored: others may write it; run: chmod go-w\n"


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.mkdir()


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path may have 108 bytes
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path.name)
    os.chdir(here)


@pytest.mark.process
@pytest.mark.parametrize(
    ("file", "make"),
    [
        ("state/toolchat/grants.json", _pipe),
        ("state/toolchat/trusted-tools.json", _pipe),
        ("state/toolchat/history", _pipe),
        ("state/toolchat/logs/tools.log", _pipe),
        ("config/toolchat/config.toml", _pipe),
        ("state/toolchat/grants.json", _folder),
        ("config/toolchat/config.toml", _folder),
        ("state/toolchat/grants.json", _socket),
    ],
)
def test_what_is_no_file_is_one_line_and_never_waited_for(
    tmp_path: Path, file: str, make: Callable[[Path], None]
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    make(path)
    done = run("tools", "list", cwd=tmp_path, **places(tmp_path))
    what = {"_pipe": "a pipe", "_folder": "a folder", "_socket": "a socket"}[make.__name__]
    assert done.stderr == f"toolchat: {path}: is {what}; expected a file; remove it, or move it away\n"
    assert done.returncode in (1, 2)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def _regular(path: Path) -> None:
    path.touch()


INSTEAD = {
    _pipe: "a pipe",
    _socket: "a socket",
    _device: "a device",
    _dangling: "a link that leads nowhere",
    _regular: "a file",
    _folder: "a folder",
}


@pytest.mark.parametrize("place", ["state/toolchat", "state/toolchat/logs"])
@pytest.mark.parametrize("make", [_pipe, _socket, _device, _dangling, _regular])
def test_what_is_no_folder_in_place_of_one_for_state_is_one_line(
    tmp_path: Path, place: str, make: Callable[[Path], None]
) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    make(path)
    with pytest.raises(ToolchatError) as caught:
        open_state(tmp_path / "state" / "toolchat")
    assert str(caught.value) == f"{path}: is {INSTEAD[make]}; expected a folder; remove it, or move it away"
    assert appendable(tmp_path / "state/toolchat/logs/tools.log").name == "tools.log"


@pytest.mark.process
@pytest.mark.parametrize("command", [("ask", "--model", "demo", "question"), ("repl", "--plain", "--model", "demo")])
def test_a_pipe_in_place_of_the_logs_is_one_line_of_the_command(tmp_path: Path, command: tuple[str, ...]) -> None:
    path = tmp_path / "state/toolchat/logs"
    path.parent.mkdir(parents=True)
    _pipe(path)
    done = run(*command, cwd=tmp_path, **places(tmp_path))
    assert done.stderr == f"toolchat: {path}: is a pipe; expected a folder; remove it, or move it away\n"


@pytest.mark.process
def test_a_list_of_accepted_files_that_is_a_link_to_a_device_is_said_to_be_no_file(tmp_path: Path) -> None:
    planted(tmp_path).unlink()
    _device(tmp_path / "state/toolchat/trusted-tools.json")
    for command in ("trust", "list"):
        done = run("tools", command, cwd=tmp_path, **places(tmp_path))
        assert done.stderr.endswith("trusted-tools.json: is a device; expected a file; remove it, or move it away\n")
        assert "chmod" not in done.stderr


@pytest.mark.parametrize("make", [_pipe, _folder, _device, _dangling])
@pytest.mark.parametrize("callable_", ["./own.py:f", "own:f", "./uses.py:f"])
def test_what_is_no_file_in_place_of_a_module_is_said_to_be_that(
    tmp_path: Path, make: Callable[[Path], None], callable_: str
) -> None:
    make(tmp_path / "own.py")
    (tmp_path / "uses.py").write_text("import own\n")
    (tmp_path / "tools.yaml").write_text(f"version: 1\ntools:\n- callable: {callable_}\n")
    with pytest.raises(ToolchatError) as caught:
        load_tools(tmp_path / "tools.yaml")
    assert str(caught.value).endswith(f"is {INSTEAD[make]}; expected a file; remove it, or move it away")
    assert "own.py" in str(caught.value)


@pytest.mark.process
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file_in_place_of_a_tools_file_is_not_taken_for_none(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "tools.yaml")
    done = run("tools", "list", cwd=tmp_path, **places(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("toolchat: ./tools.yaml: expected a file; remove it")
    assert done.stdout == ""


@pytest.mark.process
def test_settings_that_are_a_link_to_a_device_are_said_to_be_no_file(tmp_path: Path) -> None:
    file = tmp_path / "config/toolchat/config.toml"
    file.parent.mkdir(parents=True)
    file.symlink_to("/dev/zero")
    done = run("tools", "list", cwd=tmp_path, **places(tmp_path))
    assert done.returncode == 2
    assert "expected a file" in done.stderr
    assert "chmod" not in done.stderr


def test_grants_that_become_a_pipe_while_the_chat_is_open_grant_nothing_and_end_nothing(tmp_path: Path) -> None:
    store = GrantStore(tmp_path)
    store.add(GRANT)
    (tmp_path / "grants.json").unlink()
    os.mkfifo(tmp_path / "grants.json")
    with pytest.raises(ToolchatError, match="is a pipe"):
        store.granted()
    assert ApprovalPolicy(store).standing(TOOL) == "ask"


TOOL = Tool("delete", "", {}, "mine:delete", "", "tools.yaml:3:3", source_digest="d1")
HOLD = """
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.process
def test_a_file_is_written_whole_for_its_user_or_leaves_nothing(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "folder", b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder"}


def test_a_lock_that_somebody_holds_grants_for_the_session_with_a_notice(tmp_path: Path) -> None:
    store = GrantStore(tmp_path)
    store.add(GRANT)
    policy = ApprovalPolicy(store)
    pending = PendingCall(ToolCall("abcdefghi", "delete", {}), Tool(**{**_fields(TOOL), "source_digest": "d2"}))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "grants.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        began = time.monotonic()
        notice = policy.learn(pending, Reply(True, Scope.ALWAYS))
        assert time.monotonic() - began < 10
        assert holder.poll() is None
        holder.kill()
    assert notice.startswith("delete is allowed for this session only: ")
    assert "another program has held grants.lock for more than a second" in notice
    assert policy.judge(pending) == "allow"
    assert GrantStore(tmp_path).granted() == (GRANT,)


def test_a_history_that_somebody_locks_is_not_waited_for(tmp_path: Path) -> None:
    from toolchat.ui.input_history import PrivateHistory

    path = tmp_path / "history"
    PrivateHistory(path).store_string("first")
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        PrivateHistory(path).store_string("second")
    assert list(PrivateHistory(path).load_history_strings()) == ["second", "first"]


def _fields(tool: Tool) -> dict[str, object]:
    return {name: getattr(tool, name) for name in Tool.__slots__}


def test_a_link_in_place_of_a_lock_costs_the_file_that_it_leads_to_nothing(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("text")
    (tmp_path / "grants.lock").symlink_to(precious)
    with suppress(ToolchatError):
        GrantStore(tmp_path).add(GRANT)
    assert precious.read_text() == "text"


@pytest.mark.parametrize("name", ["grants.json", "trusted-tools.json"])
def test_state_of_sixty_gigabytes_is_ignored_with_a_line(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(SPARSE)
    assert PrivateFile(tmp_path / name).read() is None
    assert f"{tmp_path / name} is ignored: it is larger than" in capsys.readouterr().err


def test_settings_of_sixty_gigabytes_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    with file.open("wb") as sparse:
        sparse.truncate(SPARSE)
    with pytest.raises(UsageError) as caught:
        resolve({}, environment={}, file=file)
    assert str(caught.value) == f"{file}: is larger than 1 MiB"


@pytest.mark.process
@pytest.mark.parametrize("name", ["own.py", "tools.yaml"])
def test_code_of_sixty_gigabytes_is_one_line(tmp_path: Path, name: str) -> None:
    planted(tmp_path)
    with (tmp_path / name).open("wb") as sparse:
        sparse.truncate(SPARSE)
    for command in (("tools", "list"), ("tools", "list", "--tools", "tools.yaml"), ("tools", "trust")):
        done = run(*command, cwd=tmp_path, **places(tmp_path))
        assert done.returncode != 0
        assert len(done.stderr.splitlines()) == 1
        assert name in done.stderr
        assert "MemoryError" not in done.stderr


@pytest.mark.process
def test_the_question_says_which_tools_keep_their_privileges(tmp_path: Path) -> None:
    planted(tmp_path)
    assert "keeps your privileges" not in run("tools", "trust", cwd=tmp_path, **places(tmp_path)).stdout
    (tmp_path / "tools.yaml").write_text(f"{OWN}  privileges: keep\n")
    assert "keeps your privileges" in run("tools", "trust", cwd=tmp_path, **places(tmp_path)).stdout


@pytest.mark.parametrize("name", ["params.json", "tekken.json"])
def test_a_model_with_a_file_of_sixty_gigabytes_is_one_line(tmp_path: Path, name: str) -> None:
    from toolchat.engine.params import read_params
    from toolchat.models.card import reasoning_efforts

    with (tmp_path / name).open("wb") as sparse:
        sparse.truncate(SPARSE)
    with pytest.raises(EngineError, match=f"{name}: cannot be read: is larger than"):
        (read_params if name == "params.json" else reasoning_efforts)(tmp_path)


def test_a_history_of_sixty_gigabytes_costs_its_older_part(tmp_path: Path) -> None:
    from toolchat.ui.input_history import PrivateHistory

    path = tmp_path / "history"
    with path.open("wb") as sparse:
        sparse.truncate(SPARSE)
    with path.open("ab") as file:
        file.write(b"\n+what was typed last\n")
    assert next(iter(PrivateHistory(path).load_history_strings())) == "what was typed last"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with files as large as a small model's, whose quick digests are known."""
    monkeypatch.setattr(pins, "BYTES", {pins.PARAMS: 100, pins.WEIGHTS: 8_000_000})
    folder = demo.demo_folder(tmp_path)
    folder.mkdir(parents=True)
    for name, size in pins.BYTES.items():
        (folder / name).write_bytes(os.urandom(size))
    monkeypatch.setattr(pins, "QUICK", {name: demo.quick_digest(folder / name) for name in pins.BYTES})
    assert demo.is_built(tmp_path)
    return tmp_path


@pytest.mark.parametrize("at", [0, 1_000_000, 7_875_000])
def test_weights_that_are_zeroed_in_any_sixty_fourth_are_no_model(cache: Path, at: int) -> None:
    weights = demo.demo_folder(cache) / pins.WEIGHTS
    with weights.open("r+b") as file:
        file.seek(at)
        file.write(bytes(8_000_000 // 64))
    assert weights.stat().st_size == 8_000_000
    assert not demo.is_built(cache)


def test_a_pipe_in_place_of_the_weights_is_no_model(cache: Path) -> None:
    weights = demo.demo_folder(cache) / pins.WEIGHTS
    weights.unlink()
    os.mkfifo(weights)
    assert not demo.is_built(cache)


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="takes two users")
def test_a_user_without_rights_is_not_fooled_by_what_another_planted(tmp_path: Path) -> None:
    user = unprivileged()
    if user.uid != NOBODY:
        pytest.skip("no other user can run this Python")
    with folder_of(user) as folder:
        # Planted by this user, root, whose files are believed; then by a third one.
        os.chown(folder, 0, -1)
        planted(folder)
        for owner, code in ((user.uid, 0), (12345, 2)):
            for path in (folder, *folder.rglob("*")):
                os.chown(path, user.uid, -1)
            file = folder / "state" / "toolchat" / "trusted-tools.json"
            file.chmod(0o644)
            os.chown(file, owner, -1)
            done = subprocess.run(
                user.command("-m", "toolchat", "tools", "list"),
                cwd=folder,
                env=environment(**places(folder)),
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == code, done.stderr
            assert ("it belongs to another user" in done.stderr) is (code == 2)
