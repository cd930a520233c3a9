from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

from toolchat.cli.given import settings_flags
from toolchat.cli.main import ask, repl
from toolchat.settings import NO_HOME, SETTINGS, Settings, cache_folder, config_file, resolve, state_folder
from toolchat.wire.errors import UsageError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_nothing_given_means_the_defaults(file: Path) -> None:
    assert resolve({}, environment={}, file=file) == Settings(max_tokens=8192, temperature=None)


def test_flags_beat_variables_beat_the_file_beat_the_model(file: Path) -> None:
    file.write_text("max_tokens = 3\ntemperature = 0.3\nsystem = 'file'\n")
    environment = {"TOOLCHAT_MAX_TOKENS": "2", "TOOLCHAT_TEMPERATURE": "0.2"}
    settings = resolve(
        {"max_tokens": "1"},
        environment=environment,
        file=file,
        model_defaults={"max_tokens": 4, "temperature": 0.4, "context": 4},
    )
    assert (settings.max_tokens, settings.temperature, settings.system, settings.context) == (
        1,
        0.2,
        "file",
        4,
    )


@pytest.mark.parametrize(
    ("flags", "environment", "written", "system"),
    [
        ({}, {}, "", None),
        ({}, {}, "system = 'none'", ""),
        ({}, {"TOOLCHAT_SYSTEM": "None"}, "system = 'Be brief.'", ""),
        ({"system": "none"}, {"TOOLCHAT_SYSTEM": "Be brief."}, "", ""),
        ({"system": "Be kind."}, {"TOOLCHAT_SYSTEM": "none"}, "", "Be kind."),
    ],
)
def test_no_system_prompt_at_all_is_told_from_none_given(
    file: Path, flags: dict[str, str], environment: dict[str, str], written: str, system: str | None
) -> None:
    file.write_text(written)
    assert resolve(flags, environment=environment, file=file).system == system


@pytest.mark.parametrize(
    ("flags", "environment", "written", "message"),
    [
        ({"max_tokens": "many"}, {}, "", "--max-tokens: expected a whole number, at least 1, not 'many'"),
        ({"max_tokens": "0"}, {}, "", "--max-tokens: expected a whole number, at least 1, not '0'"),
        ({"temperature": "-1"}, {}, "", "--temperature: expected a number from 0 to 5, not '-1'"),
        ({"temperature": "nan"}, {}, "", "--temperature: expected a number from 0 to 5, not 'nan'"),
        ({}, {"TOOLCHAT_CONTEXT": "x"}, "", "TOOLCHAT_CONTEXT: expected a whole number, at least 1, not 'x'"),
        (
            {},
            {},
            "max_tokens = true",
            "config.toml: max_tokens: expected a whole number, at least 1, not True",
        ),
        ({}, {}, "max_tokens = 1.5", "config.toml: max_tokens: expected a whole number, at least 1, not 1.5"),
        ({}, {}, "model = 7", "config.toml: model: expected a text, not 7"),
        ({}, {}, "max_token = 7", "config.toml: there is no setting 'max_token'; did you mean max_tokens?"),
        ({}, {}, "zzz = 7", "config.toml: there is no setting 'zzz'; the settings are model, tools"),
        ({}, {}, "max_tokens =", "config.toml: not valid TOML:"),
        ({}, {}, f"max_tokens = {'[' * 100_000}", "config.toml: cannot be read:"),
        ({}, {"TOOLCHAT_PARALLEL_CALLS": "two"}, "", "TOOLCHAT_PARALLEL_CALLS: expected true or false, not 'two'"),
        ({}, {}, "parallel_calls = 2", "config.toml: parallel_calls: expected true or false, not 2"),
        (
            {"kv_cache_gib": "lots"},
            {},
            "",
            "--kv-cache: expected a number of GiB from 0.01 to 4096, not 'lots'",
        ),
    ],
)
def test_wrong_values_name_their_place(
    flags: dict[str, str], environment: dict[str, str], written: str, message: str, file: Path
) -> None:
    file.write_text(written)
    with pytest.raises(UsageError) as caught:
        resolve(flags, environment=environment, file=file)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_variable_counts_as_none(file: Path) -> None:
    assert resolve({}, environment={"TOOLCHAT_MODEL": ""}, file=file).model is None


def test_a_switch_is_read_from_every_place(file: Path) -> None:
    file.write_text("parallel_calls = false\n")
    assert not resolve({}, environment={}, file=file).parallel_calls
    assert resolve({}, environment={"TOOLCHAT_PARALLEL_CALLS": "yes"}, file=file).parallel_calls
    assert not resolve(
        {"parallel_calls": False}, environment={"TOOLCHAT_PARALLEL_CALLS": "1"}, file=file
    ).parallel_calls


@pytest.mark.parametrize(
    ("written", "value"), [("0.5", 0.5), ("1", 1.0), ("6", 6.0), ("12GiB", 12.0), ("12 gib", 12.0), (0.9, 0.9)]
)
def test_gpu_memory_is_a_share_or_gib(file: Path, written: object, value: float) -> None:
    assert resolve({"gpu_memory": written}, environment={}, file=file).gpu_memory == value


@pytest.mark.parametrize(
    ("flag", "written", "expected"),
    [
        ("gpu_memory", "half", "--gpu-memory: expected a share of the card from 0.01 to 1, or GiB above 1, not 'half'"),
        ("gpu_memory", "0", "--gpu-memory: expected a share"),
        ("gpu_memory", "nan", "--gpu-memory: expected a share"),
        ("gpu_memory", "1GiB", "--gpu-memory: expected a share"),  # not the whole card
        ("gpu_memory", "0.5 GiB", "--gpu-memory: expected a share"),  # nor half of it
        ("dtype", "int4", "--dtype: expected auto, float32, bfloat16 or float16, not 'int4'"),
        ("top_p", "0", "--top-p: expected a number from 0.01 to 1"),
        ("top_p", "1.5", "--top-p: expected a number from 0.01 to 1"),
    ],
)
def test_wrong_engine_settings_name_the_flag(file: Path, flag: str, written: str, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve({flag: written}, environment={}, file=file)
    assert str(caught.value).startswith(expected)


def test_a_relative_path_in_the_file_starts_at_its_folder(file: Path) -> None:
    file.write_text("tools = 'mine/tools.yaml'\nmodel = './small'\n")
    settings = resolve({}, environment={}, file=file)
    assert settings.tools == str(file.parent / "mine/tools.yaml")
    assert settings.model == str(file.parent / "small")
    assert settings.tools_named
    file.write_text("tools = '~/tools.yaml'\nmodel = 'mistralai/small'\n")
    settings = resolve({}, environment={}, file=file)
    assert (settings.tools, settings.model) == ("~/tools.yaml", "mistralai/small")


@pytest.mark.parametrize(
    ("flag", "variable", "named"),
    [
        (None, None, True),
        (None, "tools.yaml", False),
        (None, "./tools.yaml", False),
        (None, "/srv/tools.yaml", True),
        (None, "~/tools.yaml", True),
        ("tools.yaml", "other.yaml", True),
        (None, "", True),
    ],
)
def test_only_a_relative_path_in_the_variable_names_no_file_for_good(
    file: Path, flag: str | None, variable: str | None, named: bool
) -> None:
    environment = {"TOOLCHAT_TOOLS": variable} if variable is not None else {}
    settings = resolve({"tools": flag}, environment=environment, file=file)
    assert (settings.tools, settings.tools_named) == (flag or variable or None, named)


def test_without_a_home_no_folder_is_made_where_the_user_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(user: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {user}")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert state_folder() == cache_folder() == config_file().parent == NO_HOME / "toolchat"
    assert resolve({}, environment={}) == Settings()


def test_a_relative_xdg_variable_is_ignored(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "here")
    assert state_folder() == home / ".local" / "state" / "toolchat"


def test_a_config_folder_that_is_no_folder_holds_no_settings() -> None:
    assert resolve({}, environment={}, file=Path("/dev/null/toolchat/config.toml")) == Settings()


@pytest.mark.parametrize("folder", ["loop", "x" * 300, "y/" * 3000, "/dev/full", "/proc/self/fd/none"])
def test_a_place_where_no_file_can_be_has_no_settings(tmp_path: Path, folder: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert resolve({}, environment={}, file=tmp_path / folder / "config.toml") == Settings()


def test_a_config_that_this_user_may_not_look_for_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("toolchat.private_file.read_believed", refuse)
    file = tmp_path / "config.toml"
    assert resolve({}, environment={}, file=file) == Settings()
    file.write_text("")
    with pytest.raises(UsageError, match=r"config\.toml: cannot be read: Permission denied$"):
        resolve({}, environment={}, file=file)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        *(("0", 0), ("-1", -1), ("-7", -1), ("300", 300), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400)),
        *(("2d", 172800), (" 5M ", 300), (45, 45)),
    ],
)
def test_a_time_to_keep_the_model_is_written_as_people_write_times(written: str | int, seconds: float) -> None:
    assert resolve({"keep_alive": written}, environment={}).keep_alive == seconds


@pytest.mark.parametrize("written", ["", "soon", "5x", "m5", "-5m", "10m10m", "1e3", True, "400d", "m"])
def test_a_time_that_is_none_is_refused_in_one_line(written: str | bool) -> None:
    with pytest.raises(UsageError, match=r"^--keep-alive: expected a time such as 90s, 10m.*, not "):
        resolve({"keep_alive": written}, environment={})


@pytest.mark.parametrize(
    ("written", "server"),
    [
        ("http://localhost:8000", "http://localhost:8000"),
        ("https://example.org/api/v1/", "https://example.org/api/v1"),
        ("unix:/run/vllm.sock", "unix:/run/vllm.sock"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
        ("none", ""),
    ],
)
def test_a_server_is_an_address_of_http_or_a_unix_socket(file: Path, written: str, server: str) -> None:
    assert resolve({}, environment={"TOOLCHAT_SERVER": written}, file=file).server == server


@pytest.mark.parametrize(
    "written",
    [
        *("localhost:8000", "ftp://h", "http://", "http://h:99999", "http://h h", "unix:relative", "http://[::1"),
        *("http://me:secret@h", "http://h?key=secret", "http://h#secret", f"unix:/{'x' * 107}"),
    ],
)
def test_another_address_is_refused_and_a_password_in_it_not_shown(file: Path, written: str) -> None:
    with pytest.raises(UsageError, match=r"^--server: expected ") as raised:
        resolve({"server": written}, environment={}, file=file)
    assert "me:secret" not in str(raised.value)


@pytest.mark.parametrize("key", ["sk secret", "sk-sécret", "sk\nsecret"])
def test_a_key_that_is_none_is_refused_and_never_shown(file: Path, key: str) -> None:
    with pytest.raises(UsageError) as raised:
        resolve({}, environment={"TOOLCHAT_API_KEY": key}, file=file)
    assert str(raised.value).startswith("TOOLCHAT_API_KEY: expected a key of printable ASCII")
    assert "cret" not in str(raised.value).removesuffix("(not shown)")


def test_the_key_is_in_no_representation_of_the_settings(file: Path) -> None:
    settings = resolve({"api_key": "sk-secret"}, environment={}, file=file)
    assert settings.api_key == "sk-secret"
    assert "sk-secret" not in repr(settings)


def test_arguments_of_vllm_are_a_list_in_each_place(file: Path) -> None:
    file.write_text("engine_arg = ['a=1', 'b=x y']\n")
    assert resolve({}, environment={}, file=file).engine_arg == ("a=1", "b=x y")
    environment = {"TOOLCHAT_ENGINE_ARG": """c=3 'd={"e": 1}'"""}
    assert resolve({}, environment=environment, file=file).engine_arg == ("c=3", 'd={"e": 1}')
    assert resolve({"engine_arg": ["f=4"]}, environment=environment, file=file).engine_arg == ("f=4",)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"engine_arg": ["a"]}, "--engine-arg: expected KEY=VALUE, by the names of vLLM's EngineArgs"),
        ({"lora": "path"}, "--lora: expected NAME=PATH, the adapter's folder"),
        ({"lora": "=path"}, "--lora: expected NAME=PATH"),
        ({"lora": "a="}, "--lora: expected NAME=PATH"),
        ({"lora": "a=~nobody-here/x"}, "--lora: expected a path that begins with an existing home folder"),
        ({"seed": "-1"}, "--seed: expected a whole number, at least 0, not '-1'"),
        ({"seed": "x"}, "--seed: expected a whole number, at least 0, not 'x'"),
        ({"seed": str(2**63)}, "--seed: expected a whole number"),
        ({"enforce_eager": "maybe"}, "--enforce-eager: expected true or false"),
    ],
)
def test_a_wrong_option_of_the_engine_is_one_line(file: Path, flags: dict[str, object], line: str) -> None:
    with pytest.raises(UsageError) as refused:
        resolve(flags, environment={}, file=file)
    assert str(refused.value).startswith(line)


def test_what_belongs_to_one_model_counts_where_that_model_is_named_or_later(file: Path) -> None:
    file.write_text("model = 'a/b'\nrevision = 'v1'\nlora = 'x=adapters/x'\nquantization = 'awq'\n")
    of_file = resolve({}, environment={}, file=file)
    assert (of_file.revision, of_file.quantization) == ("v1", "awq")
    assert of_file.lora == f"x={file.parent / 'adapters/x'}"
    other = resolve({"model": "demo"}, environment={"TOOLCHAT_REVISION": "v2"}, file=file)
    assert (other.revision, other.quantization, other.lora) == (None, None, None)
    assert resolve({}, environment={"TOOLCHAT_MODEL": "demo"}, file=file).revision is None
    assert resolve({"revision": "v3"}, environment={}, file=file).revision == "v3"


@pytest.mark.parametrize("command", [ask, repl])
def test_every_setting_has_its_flag_at_each_command_that_chats(command: Callable[..., int]) -> None:
    parameters = inspect.signature(command).parameters
    given = {name: f"the value of {name}" for name in parameters} | {"no_system": False}
    given |= {"profile": None, "project": False}  # they say what is read, at once
    of_command = {name for name, setting in SETTINGS.items() if command is repl or not setting.of_screen}
    flags = {name: given["kv_cache" if name == "kv_cache_gib" else name] for name in of_command}
    assert settings_flags(given) == dict.fromkeys(SETTINGS) | flags
    with pytest.raises(UsageError, match="--system and --no-system contradict"):
        settings_flags(given | {"no_system": True})


def test_paths_in_arguments_for_vllm_begin_in_the_folder_of_the_file(file: Path) -> None:
    file.write_text("engine_arg = ['a=./x', 'b=x', 'c=owner/x', 'd=/x', 'e=../x=y']\n")
    assert resolve({}, environment={}, file=file).engine_arg == (
        *(f"a={file.parent / 'x'}", "b=x", "c=owner/x", "d=/x", f"e={file.parent / '../x=y'}"),
    )
    file.write_text(
        """engine_arg = ['a={"model": "./draft", "n": [1, "../x", "owner/x"]}', 'b={"x": 1}', 'c={x', 'd= 1 ']\n"""
    )
    draft = f'a={{"model": "{file.parent / "draft"}", "n": [1, "{file.parent / "../x"}", "owner/x"]}}'
    assert resolve({}, environment={}, file=file).engine_arg == (draft, 'b={"x": 1}', "c={x", "d=1")
