from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from toolchat.cli.given import describe
from toolchat.settings import Origin, Project, Resolved, Settings, UnacceptedError, check, read_project, resolve, trace
from toolchat.settings.table import SETTINGS, variable
from toolchat.wire.errors import UsageError

HOOKS = ("before_tool", "after_tool", "hook_timeout")


class Places:
    """config.toml and .toolchat.toml in folders of their own."""

    def __init__(self, folder: Path) -> None:
        self.config, self.project = folder / "config" / "config.toml", folder / "work" / ".toolchat.toml"
        for file in (self.config, self.project):
            file.parent.mkdir()

    def trace(self, flags: dict[str, Any] | None = None, **variables: str) -> Resolved:
        return trace(flags or {}, environment=variables, file=self.config, project=self.project)

    def refused(self, flags: dict[str, Any] | None = None, **variables: str) -> str:
        with pytest.raises(UsageError) as caught:
            self.trace(flags, **variables)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def accept(self) -> None:
        project = read_project(self.project)
        assert project is not None
        project.accept()


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


WORK = "max_tokens = 5\nseed = 5\n[profiles.work]\nmax_tokens = 4\n"


def test_each_place_goes_before_those_behind_it_and_is_named(places: Places) -> None:
    places.config.write_text(WORK)
    steps: list[tuple[dict[str, Any], dict[str, str], str, int, Origin, str]] = [
        ({}, {}, "", 5, Origin.FILE, f"{places.config}: max_tokens"),
        ({"profile": "work"}, {}, "", 4, Origin.PROFILE, f"{places.config}: profiles.work.max_tokens"),
        ({"profile": "work"}, {}, "max_tokens = 3", 3, Origin.PROJECT, f"{places.project}: max_tokens"),
        ({}, {"TOOLCHAT_MAX_TOKENS": "2"}, "max_tokens = 3", 2, Origin.VARIABLE, "TOOLCHAT_MAX_TOKENS"),
        ({"max_tokens": "1"}, {"TOOLCHAT_MAX_TOKENS": "2"}, "max_tokens = 3", 1, Origin.FLAG, "--max-tokens"),
    ]
    for flags, variables, project, value, origin, where in steps:
        places.project.write_text(project)
        found = places.trace(flags, **variables)
        assert (found.settings.max_tokens, found.origins["max_tokens"]) == (value, (origin, where))
        assert (found.settings.seed, found.origins["seed"][0]) == (5, Origin.FILE)
    assert found.origins["top_p"] == (Origin.BUILT_IN, "")


@pytest.mark.parametrize(
    ("flags", "variables", "written", "profile"),
    [
        ({"profile": "a"}, {"TOOLCHAT_PROFILE": "b"}, "profile = 'c'", "a"),
        ({}, {"TOOLCHAT_PROFILE": "b"}, "profile = 'c'", "b"),
        ({}, {}, "profile = 'c'", "c"),
        ({}, {}, "", None),
    ],
)
def test_a_profile_is_chosen_by_flag_variable_or_file(
    places: Places, flags: dict[str, Any], variables: dict[str, str], written: str, profile: str | None
) -> None:
    sections = "".join(f"[profiles.{name}]\nsystem = 'of {name}'\n" for name in "abc")
    places.config.write_text(f"{written}\n{sections}")
    settings = places.trace(flags, **variables).settings
    assert (settings.profile, settings.system) == (profile, f"of {profile}" if profile else None)


@pytest.mark.parametrize(
    ("written", "flags", "message"),
    [
        (WORK, {"profile": "wrok"}, "--profile: {config} has no [profiles.wrok]; did you mean work?"),
        (WORK, {"profile": "zzz"}, "--profile: {config} has no [profiles.zzz]; it has work"),
        ("", {"profile": "x"}, "--profile: {config} has no [profiles.x]; it has no profiles"),
        ("profile = 'x'", {}, "{config}: profile: {config} has no [profiles.x]"),
        ("", {"profile": "a b"}, "--profile: expected the name of a profile"),
        ("profiles = 3", {}, "{config}: profiles: expected tables such as [profiles.work]"),
        ("[profiles]\nwork = 3", {}, "{config}: profiles: expected tables such as [profiles.work]"),
        (
            "[profiles.work]\nmax_token = 3",
            {},
            "{config}: profiles.work: there is no setting 'max_token'; did you mean max_tokens?",
        ),
        ("[profiles.work]\nprofile = 'x'", {}, "{config}: profiles.work: profile cannot be set here"),
        ("[profiles.work]\nproject = false", {}, "{config}: profiles.work: project cannot be set here"),
        (
            "[profiles.work]\ntemperature = 'hot'",
            {"profile": "work"},
            "{config}: profiles.work.temperature: expected a number from 0 to 5, not 'hot'",
        ),
    ],
)
def test_what_is_wrong_with_a_profile_is_one_line(
    places: Places, written: str, flags: dict[str, Any], message: str
) -> None:
    places.config.write_text(written)
    assert places.refused(flags).startswith(message.format(config=places.config))


@pytest.mark.parametrize("name", sorted(name for name, setting in SETTINGS.items() if not setting.harmless))
def test_a_person_has_to_accept_whatever_a_folder_sets_that_is_not_harmless(places: Places, name: str) -> None:
    if name in ("project", *HOOKS):
        return
    places.project.write_text(f"seed = 1\n{name} = 'x'\n")
    line = places.refused()
    assert line.startswith(f"{places.project}: this folder's settings have {name}, and you have not accepted that; ")
    assert "toolchat config trust" in line
    assert "--no-project" in line


@pytest.mark.parametrize("name", HOOKS)
def test_no_folder_chooses_what_is_asked_before_a_call_accepted_or_not(places: Places, name: str) -> None:
    places.project.write_text(f"{name} = '/bin/true'\n")
    assert places.refused().startswith(f"{places.project}: {name} cannot be set here; hooks belong into your config")


def test_a_link_to_a_file_accepted_elsewhere_is_not_accepted_here(places: Places) -> None:
    # Its paths would begin in this folder, whose files nobody has agreed to.
    places.project.write_text("model = './weights'\n")
    places.accept()
    other = places.project.parent.parent / "other"
    other.mkdir()
    (other / ".toolchat.toml").symlink_to(places.project)
    with pytest.raises(UnacceptedError):
        resolve({}, environment={}, file=places.config, project=other / ".toolchat.toml")


def test_what_is_asked_about_is_shown_whole(places: Places) -> None:
    pairs = [f"option{number}=1" for number in range(60)]
    places.project.write_text(
        f"engine_arg = {[*pairs, 'trust_remote_code=true']}\nserver = 'http://g\u0440u.example.org'\n"
    )
    project = read_project(places.project)
    assert project is not None
    shown = list(describe(project))
    assert "trust_remote_code=true" in "".join(shown)
    assert "The next value has" in shown[0]
    assert any("CYRILLIC" in row for row in shown)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("check --strict 'a b'", ("check", "--strict", "a b")),
        (["/usr/bin/check", "x y"], ("/usr/bin/check", "x y")),
        ("none", ()),
    ],
)
def test_a_hook_is_a_command_of_words(written: Any, words: tuple[str, ...]) -> None:
    assert SETTINGS["before_tool"].parse(written) == words


def test_a_hook_may_lie_in_the_home_folder() -> None:
    home = Path("~").expanduser()
    assert SETTINGS["before_tool"].parse("~/check ~/rules") == (f"{home}/check", f"{home}/rules")


@pytest.mark.parametrize("written", ["", "./check", "bin/check", [], [1], 3, "a 'b", ["a\0"], [""]])
def test_a_program_that_would_be_another_in_each_folder_is_no_hook(places: Places, written: Any) -> None:
    with pytest.raises(ValueError, match="expected a command"):
        SETTINGS["before_tool"].parse(written)


def test_what_is_harmless_names_no_code_server_key_or_text() -> None:
    harmless = {name for name, setting in SETTINGS.items() if setting.harmless}
    assert harmless == {
        *("max_tokens", "temperature", "top_p", "context", "text_only", "seed", "reasoning_effort", "parallel_calls"),
        *("compact", "editing_mode", "theme", "thinking", "notify"),
    }


def test_what_was_accepted_counts_until_it_changes(places: Places) -> None:
    places.project.write_text("system = 'one'\n")
    places.refused()
    places.accept()
    assert places.trace().settings.system == "one"
    places.project.write_text("system = 'two'\n")
    with pytest.raises(UnacceptedError):
        places.trace()
    places.project.write_text("seed = 3\n")
    assert places.trace().settings.seed == 3


def test_a_folders_file_accepted_elsewhere_is_not_accepted_here(places: Places) -> None:
    places.project.write_text("system = 'one'\n")
    places.accept()
    other = places.project.parent / "other.toml"
    other.write_text("system = 'one'\n")
    with pytest.raises(UnacceptedError):
        resolve({}, environment={}, file=places.config, project=other)


@pytest.mark.parametrize(
    ("flags", "variables", "config"),
    [({"project": False}, {}, ""), ({}, {"TOOLCHAT_PROJECT": "0"}, ""), ({}, {}, "project = false")],
)
def test_the_folders_file_can_be_left_out(
    places: Places, flags: dict[str, Any], variables: dict[str, str], config: str
) -> None:
    places.project.write_text("system = 'one'\nnonsense = 1\n")
    places.config.write_text(config)
    found = places.trace(flags, **variables)
    assert (found.settings.system, found.project) == (None, None)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("max_token = 1", "there is no setting 'max_token'; did you mean max_tokens?"),
        ("max_tokens = 'x'", "max_tokens: expected a whole number, at least 1, not 'x'"),
        ("[profiles.work]\nseed = 1", "profiles: profiles belong into your config.toml"),
        ("project = false", "project cannot be set here"),
        ("max_tokens =", "not valid TOML"),
    ],
)
def test_what_is_wrong_with_a_folders_file_is_one_line(places: Places, written: str, message: str) -> None:
    places.project.write_text(written)
    assert places.refused().startswith(f"{places.project}: {message}")


def test_a_pipe_or_folder_in_the_place_of_a_folders_file_is_one_line(places: Places) -> None:
    places.project.mkdir()
    assert places.refused() == f"{places.project}: is a folder; expected a file; remove it, or move it away"


def test_a_folder_that_is_not_accepted_chooses_no_profile(places: Places) -> None:
    places.config.write_text("[profiles.work]\nserver = 'http://h:1'\n")
    places.project.write_text("profile = 'work'\n")
    places.refused()
    places.accept()
    assert places.trace().settings.server == "http://h:1"


def test_a_tools_file_that_a_folder_names_is_no_consent_to_run_it(places: Places) -> None:
    for written in ("mine/tools.yaml", "/srv/tools.yaml"):
        places.project.write_text(f"tools = '{written}'\n")
        places.accept()
        settings = places.trace().settings
        assert settings.tools == str(places.project.parent / written)
        assert not settings.tools_named
        assert settings.tools_place == f"{places.project}: tools"


def test_a_key_of_the_users_own_file_does_not_go_to_a_server_that_a_folder_names(places: Places) -> None:
    places.config.write_text("api_key = 'own'\nserver = 'http://own:1'\n[profiles.p]\napi_key = 'profile'\n")
    assert places.trace().settings.api_key == "own"
    places.project.write_text("server = 'http://other:1'\n")
    places.accept()
    assert places.trace().settings.api_key is None
    assert places.trace({"profile": "p"}).settings.api_key is None
    assert places.trace(TOOLCHAT_API_KEY="for-it").settings.api_key == "for-it"
    assert places.trace({"server": "http://flag:1"}).settings.api_key == "own"


def test_what_belongs_to_one_model_counts_from_where_that_model_is_named(places: Places) -> None:
    places.config.write_text("model = 'a/b'\nlora = 'x=/y'\n[profiles.p]\nmodel = 'c/d'\nrevision = 'v2'\n")
    assert places.trace().settings.lora == "x=/y"
    found = places.trace({"profile": "p"}).settings
    assert (found.model, found.revision, found.lora) == ("c/d", "v2", None)


def test_all_that_is_wrong_is_told_at_once(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(places.project.parent)
    places.config.write_text("tempratur = 1\nseed = -1\nprofile = 'x'\n[profiles.work]\ntop_p = 7\n")
    places.project.write_text("server = 'nowhere'\n")
    variables = {"TOOLCHAT_DTYPE": "int4", "TOOLCHAT_TEMPRATURE": "1", "TOOLCHAT_OFFLINE": "1"}
    found = check.problems(variables, places.config)
    beginnings = (
        f"{places.config}: there is no setting 'tempratur'",
        "TOOLCHAT_DTYPE: expected auto",
        f"{places.config}: seed: expected",
        f"{places.config}: profile: there is no [profiles.x]",
        f"{places.config}: profiles.work.top_p: expected",
        f"{places.project}: server: expected",
    )
    for problem, beginning in zip(found.problems, beginnings, strict=True):
        assert problem.startswith(beginning)
    assert len(found.notes) == 2
    assert "toolchat config trust" in found.notes[0]
    assert found.notes[1] == "TOOLCHAT_TEMPRATURE: no setting has this variable; did you mean TOOLCHAT_TEMPERATURE?"


def test_a_file_that_cannot_be_read_does_not_hide_the_others_problems(places: Places) -> None:
    places.config.write_text("max_tokens =")
    found = check.problems({"TOOLCHAT_SEED": "x"}, places.config)
    assert len(found.problems) == 2


def test_every_setting_has_what_help_and_reference_show_and_its_variable() -> None:
    for name, setting in SETTINGS.items():
        assert setting.flag.startswith("--")
        assert setting.help.endswith(".")
        assert setting.about
        assert setting.default or setting.default_about
        assert variable(name) == f"TOOLCHAT_{name.upper()}"
        assert setting.is_switch == isinstance(getattr(Settings(), name), bool)


def test_secrets_of_arguments_for_vllm_are_not_shown() -> None:
    shown = SETTINGS["engine_arg"].shown(("hf_token=abc", "max_num_batched_tokens=7", "api_key=x"))
    assert shown == ("hf_token=(not shown)", "max_num_batched_tokens=7", "api_key=(not shown)")


def test_a_digest_is_of_the_whole_file(places: Places) -> None:
    places.project.write_text("system = 'one'\n")
    places.accept()
    project = read_project(places.project)
    assert isinstance(project, Project)
    assert project.accepted
    assert not replace(project, digest="0").accepted
