from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from toolchat.engine.config import EngineConfig
from toolchat.engine.number_format import MEASURED
from toolchat.engine.params import Format
from toolchat.engine.server_command import (
    ABSENT,
    GUARD,
    MENDED,
    PARENT,
    PROGRAMS,
    SITE,
    MistralTraits,
    Parsers,
    Place,
    ServedModel,
    ServerCommand,
    client_lines,
    server_command,
)
from toolchat.engine.vllm_options import Lora, read_passed, registered_parsers, server_flags
from toolchat.wire.errors import UsageError

KNOWN = server_flags()
TEKKEN = MistralTraits(tekken=True, thinks=False, sees=False)
MODEL = ServedModel("m", "/models/m", TEKKEN)
CPU = EngineConfig("m", "/models/m", "cpu", 4096, 1 << 30, dtype="float32", threads=3)
GPU = replace(CPU, device="cuda", context=None, kv_cache_bytes=None, dtype="auto", eager=False)


def planned(
    *passed: str,
    model: ServedModel = MODEL,
    place: Place = Place(),  # noqa: B008
    config: EngineConfig | None = CPU,
    device: str = "cpu",
    environment: Mapping[str, str] | None = None,
    **more: Any,
) -> ServerCommand:
    return server_command(model, place, config, device, read_passed(passed, KNOWN), environment or {}, **more)


def flags(command: ServerCommand) -> list[str]:
    (program,) = [one for one in PROGRAMS.values() if command.arguments[: len(one)] == one]
    return list(command.arguments[len(program) :])


def structured(command: ServerCommand) -> dict[str, Any]:
    (found,) = [one for one in command.arguments if one.startswith("--structured-outputs-config=")]
    return dict(json.loads(found.partition("=")[2]))


def test_a_mistral_model_on_a_cpu_has_all_that_it_needs() -> None:
    assert flags(planned()) == [
        "--model=/models/m",
        "--tokenizer-mode=mistral",
        "--config-format=mistral",
        "--load-format=mistral",
        "--enable-auto-tool-choice",
        "--tool-call-parser=mistral",
        '--structured-outputs-config={"backend": "guidance", "disable_any_whitespace": true}',
        "--enable-prompt-tokens-details",
        "--enable-scale-out",
        "--dtype=float32",
        "--max-model-len=4096",
        "--kv-cache-memory-bytes=1073741824",
        "--enforce-eager",
        "--block-size=32",
        "--max-num-seqs=16",
        "--served-model-name=m",
        "--host=127.0.0.1",
        "--port=8000",
    ]


def test_on_a_gpu_vllm_fits_the_context_and_has_its_own_width() -> None:
    found = flags(planned(config=GPU, device="cuda", share=0.5))
    assert found[0] == "/models/m"  # vllm serve MODEL
    assert "--max-model-len=auto" in found
    assert "--gpu-memory-utilization=0.5" in found
    assert not [one for one in found if one.startswith(("--max-num-seqs", "--kv-cache-memory-bytes", "--block-size"))]
    assert "--max-model-len=9" in flags(planned(config=replace(GPU, context=9), device="cuda"))


def test_a_model_that_thinks_has_the_reasoning_parser_and_grammars_stay_on() -> None:
    thinking = planned(model=replace(MODEL, kind=replace(TEKKEN, thinks=True)))
    assert "--reasoning-parser=mistral" in thinking.arguments
    assert structured(thinking)["enable_in_reasoning"] is True
    assert not any(one.startswith("--reasoning-parser") for one in planned().arguments)


def test_sentencepiece_takes_xgrammar() -> None:
    assert structured(planned(model=replace(MODEL, kind=replace(TEKKEN, tekken=False))))["backend"] == "xgrammar"


def test_settings_of_loading_become_vllms_flags() -> None:
    config = replace(
        GPU,
        format=Format.HF,
        text_only=True,
        quantization="fp8_per_tensor",
        lora=Lora("poet", "/adapters/poet", 16),
        fast_start=True,
        window=32768,
        engine_args={"swap_space": 2, "kv_cache_dtype": "fp8", "enable_prefix_caching": False, "stop": ["a", "b"]},
    )
    found = flags(planned(config=config, device="cuda"))
    assert "--config-format=hf" in found
    assert not any(one.startswith("--load-format") for one in found)
    for flag in (
        "--language-model-only",
        "--quantization=fp8_per_tensor",
        "--enable-lora",
        "--max-lora-rank=16",
        "--lora-modules=poet=/adapters/poet",
        '--compilation-config={"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"}',
        '--hf-overrides={"max_position_embeddings": 32768}',
        "--swap-space=2",
        "--kv-cache-dtype=fp8",
        "--no-enable-prefix-caching",
    ):
        assert flag in found
    assert found[found.index("--stop") + 1 :][:2] == ["a", "b"]


def test_a_format_that_is_measured_is_left_to_the_weights() -> None:
    assert "--dtype=auto" in planned(config=replace(CPU, dtype=MEASURED)).arguments


@pytest.mark.parametrize(
    ("passed", "kept", "gone"),
    [
        (["--max-num-seqs", "4"], "--max-num-seqs=4", "--max-num-seqs=16"),
        (["--max_num_seqs=4"], "--max_num_seqs=4", "--max-num-seqs=16"),
        (["--no-enable-scale-out"], "--no-enable-scale-out", "--enable-scale-out"),
        (["--max-model-len=2k"], "--max-model-len=2k", "--max-model-len=4096"),
        (["--dtype", "bfloat16"], "--dtype=bfloat16", "--dtype=float32"),
        (["--served-model-name", "other"], "--served-model-name=other", "--served-model-name=m"),
    ],
)
def test_the_users_own_flag_takes_the_place_of_a_default(passed: list[str], kept: str, gone: str) -> None:
    found = planned(*passed).arguments
    assert kept in found
    assert gone not in found


def test_all_other_flags_pass_as_they_are_written() -> None:
    passed = [
        *("--tensor-parallel-size=2", "-pp", "2", "--distributed-executor-backend=ray", "--enable-lora"),
        *("--lora-modules", "a=/a", "b=/b", "-O3", "--tokenizer-mode=mistral", "--seed=-1"),
    ]
    found = flags(planned(*passed, config=GPU, device="cuda"))
    assert found[found.index("--tensor-parallel-size=2") :] == (
        [one for one in passed if one != "--tokenizer-mode=mistral"]
    )


def test_the_names_that_clients_use_are_the_users_where_given() -> None:
    assert planned().name == "m"
    assert planned("--served-model-name", "one", "two").name == "one"


@pytest.mark.parametrize(
    ("passed", "told"),
    [
        (["--model=other"], "serve -- --model: this is not to be set so; the model stands before --"),
        (["--uds", "/s"], "--socket of toolchat serve, before --, is the same"),
        (["--port=1"], "--port is a flag of toolchat serve"),
        (["--host=0.0.0.0"], "--host is a flag of toolchat serve"),
        (["--api-key", "k"], "everybody on this machine could read it there; use --api-key-file"),
        (["--revision=x"], "--revision is a flag of toolchat serve"),
        (["--tokenizer-mode=hf"], "serve -- --tokenizer-mode: toolchat sets --tokenizer-mode mistral, which m needs"),
        (["--tokenizer_mode", "hf"], "serve -- --tokenizer_mode: toolchat sets --tokenizer-mode mistral"),
        (["--tokenizer-mod", "hf"], "serve -- --tokenizer-mod: toolchat sets --tokenizer-mode mistral"),
        (["--config-format=hf"], "toolchat sets --config-format mistral"),
        (["--load-format=dummy"], "toolchat sets --load-format mistral"),
        (["--tool-call-parser=hermes"], "toolchat sets --tool-call-parser mistral"),
        (["--no-enable-auto-tool-choice"], "toolchat sets --enable-auto-tool-choice, which m needs"),
        (
            ["--structured-outputs-config.backend=xgrammar"],
            "toolchat sets --structured-outputs-config.backend guidance",
        ),
        (["--structured_outputs_config", '{"backend": "auto"}'], "toolchat sets --structured-outputs-config.backend"),
        (["-sc", "{"], "serve -- -sc: expected a JSON object, not '{'"),
        (["--headless"], "vLLM's build for the CPU has one API server on one node"),
        (["--grpc"], "toolchat and OpenAI's clients speak HTTP"),
        (["stray"], "expected vLLM's own flags behind --, not 'stray'"),
        (["--tensr-parallel-size=2"], "did you mean --tensor-parallel-size?"),
    ],
)
def test_what_contradicts_is_refused_by_name(passed: list[str], told: str) -> None:
    with pytest.raises(UsageError) as raised:
        planned(*passed)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_grammars_cannot_be_switched_off_while_a_model_thinks() -> None:
    thinking = replace(MODEL, kind=replace(TEKKEN, thinks=True))
    for passed in ("--structured-outputs-config.enable_in_reasoning=false", "--reasoning-parser=qwen3"):
        with pytest.raises(UsageError, match="toolchat sets"):
            planned(passed, model=thinking)
    assert planned("--structured-outputs-config.enable_in_reasoning=True", model=thinking)


def test_more_of_a_structured_flag_is_joined_to_what_toolchat_sets() -> None:
    ours = {"backend": "guidance", "disable_any_whitespace": True}
    for passed in (
        ["--structured-outputs-config", '{"backend": "guidance", "disable_additional_properties": true}'],
        ["--structured-outputs-config.disable_additional_properties=True"],
        ["-sc.disable_additional_properties", "true"],
    ):
        # In one flag: of several, vLLM takes the last.
        assert structured(planned(*passed)) == {**ours, "disable_additional_properties": True}
        assert planned(*passed).arguments[-1] == "--port=8000"


def test_a_file_of_flags_is_not_overridden_by_defaults() -> None:
    found = planned("--config=/flags.yaml").arguments
    assert "--tokenizer-mode=mistral" in found
    assert not any(one.startswith(("--max-num-seqs", "--dtype")) for one in found)


def test_another_family_has_the_parsers_of_vllms_documents_and_nothing_of_mistrals() -> None:
    qwen = ServedModel("Qwen/Qwen3-8B", "Qwen/Qwen3-8B", Parsers("hermes", "qwen3"), "v1")
    assert flags(planned(model=qwen, config=None)) == [
        "--model=Qwen/Qwen3-8B",
        "--enable-prompt-tokens-details",
        "--enable-auto-tool-choice",
        "--tool-call-parser=hermes",
        "--reasoning-parser=qwen3",
        "--served-model-name=Qwen/Qwen3-8B",
        "--host=127.0.0.1",
        "--port=8000",
        "--revision=v1",
    ]
    own = planned("--tool-call-parser=xlam", model=replace(qwen, kind=Parsers()), config=None).arguments
    assert {"--tool-call-parser=xlam", "--enable-auto-tool-choice"} <= set(own)
    assert {"hermes", "mistral"} <= registered_parsers("tool_parsers")


def test_the_key_is_in_the_environment_and_in_no_argument() -> None:
    given = {"TOOLCHAT_API_KEY": "for another server", "VLLM_API_KEY": "old", "PATH": "/bin"}
    command = planned(key="sk-secret", environment=given)
    assert command.environment["VLLM_API_KEY"] == "sk-secret"
    assert not any("sk-secret" in one for one in command.arguments)
    assert "sk-secret" not in repr(command)
    assert "TOOLCHAT_API_KEY" not in command.environment
    assert "VLLM_API_KEY" not in planned(environment=given).environment


def test_with_a_key_a_middleware_of_ours_is_asked_before_those_of_the_user() -> None:
    passed = ("--middleware=theirs.One", "--middleware", "theirs.Two")
    found = [one for one in planned(*passed, key="sk").arguments if one.startswith("--middleware")]
    assert found == ["--middleware=theirs.One", "--middleware=theirs.Two", f"--middleware={GUARD}"]
    assert (SITE / f"{GUARD.partition('.')[0]}.py").is_file()
    assert not any(one.startswith("--middleware") for one in planned().arguments)


def test_the_environment_of_the_server() -> None:
    command = planned(environment={"PYTHONPATH": "code:/lib"}, parent=7, absent=["a", "b"], mended=["c"])
    assert command.environment == {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": f"{SITE}:{Path.cwd() / 'code'}:/lib",
        PARENT: "7",
        ABSENT: "a:b",
        MENDED: "c",
        "OMP_NUM_THREADS": "3",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }
    assert planned(environment={"OMP_NUM_THREADS": "9"}).environment["OMP_NUM_THREADS"] == "9"
    assert "OMP_NUM_THREADS" not in planned("-tp", "2").environment
    on_a_gpu = planned(config=GPU, device="cuda").environment
    assert on_a_gpu["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert on_a_gpu["VLLM_USE_FLASHINFER_SAMPLER"] == "0"


@pytest.mark.parametrize(
    ("place", "local", "url"),
    [
        (Place(), True, "http://127.0.0.1:8000"),
        (Place("localhost", 1), True, "http://localhost:1"),
        (Place("::1", 1), True, "http://[::1]:1"),
        (Place("0.0.0.0", 1), False, "http://box:1"),
        (Place("::", 1), False, "http://box:1"),
        (Place("10.0.0.2", 1, tls=True), False, "https://10.0.0.2:1"),
        (Place("box.lan", 1), False, "http://box.lan:1"),
        (Place(socket="/run/s"), True, "unix:/run/s"),
    ],
)
def test_places(place: Place, local: bool, url: str) -> None:
    assert (place.is_local, place.url("box")) == (local, url)


def test_a_socket_takes_the_place_of_the_port_and_a_node_without_a_server_has_neither() -> None:
    found = planned(place=Place(socket="/run/s")).arguments
    assert "--uds=/run/s" in found
    assert not any(one.startswith(("--host", "--port")) for one in found)
    node = planned("--headless", "--nnodes=2", "--node-rank=1", config=GPU, device="cuda")
    assert node.headless
    assert not any(one.startswith(("--host", "--port", "--uds")) for one in node.arguments)


def test_certificates_make_it_https() -> None:
    assert planned("--ssl-certfile=/c", "--ssl-keyfile=/k").place.url() == "https://127.0.0.1:8000"


def test_what_a_person_types_to_use_it() -> None:
    chat, curl = client_lines(planned(place=Place("0.0.0.0", 8001)), "$(cat /key)", "box")
    assert chat == 'TOOLCHAT_API_KEY="$(cat /key)" toolchat repl --server http://box:8001'
    assert curl.startswith('curl http://box:8001/v1/chat/completions -H "Content-Type: application/json" -H "Auth')
    assert '"Authorization: Bearer $(cat /key)"' in curl
    chat, curl = client_lines(planned(place=Place(socket="/run/a b")), "", "box")
    assert chat == "toolchat repl --server 'unix:/run/a b'"
    assert curl.startswith("curl --unix-socket '/run/a b' http://localhost/v1/chat/completions")


@pytest.mark.process
def test_the_servers_processes_hide_and_mend_modules_and_run_the_next_sitecustomize(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("from torch import library\n")
    (tmp_path / "torch" / "library.py").write_text("defined = []\ndef define(name, how): defined.append(name)\n")
    vision = tmp_path / "torchvision"
    vision.mkdir()
    (vision / "__init__.py").write_text("from torchvision import part\nname = 'mended'\n")
    (vision / "part.py").write_text(
        "import torch\n"
        "if 'torchvision::nms' not in torch.library.defined: raise RuntimeError('no operator torchvision::nms')\n"
    )
    (tmp_path / "hidden.py").write_text("raise OSError('undefined symbol')")
    (tmp_path / "sitecustomize.py").write_text("import os\nos.environ['NEXT'] = 'run'\n")
    code = (
        "import importlib.util, os, sys, torchvision\n"
        "print(torchvision.name, type(torchvision.__loader__).__name__, importlib.util.find_spec('hidden'),\n"
        "      os.environ['NEXT'], os.environ.get('TOOLCHAT_SERVE_PARENT'))"
    )
    repository = Path(__file__).parents[2]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (SITE, tmp_path, repository))),
        PARENT: str(os.getpid()),
        ABSENT: "hidden",
        MENDED: "torchvision",
    }
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("mended SourceFileLoader None run None\n", "")


def test_every_flag_that_is_written_is_one_of_the_installed_vllms() -> None:
    config = replace(
        GPU, text_only=True, quantization="fp8", lora=Lora("a", "/a", 8), fast_start=True, window=9, dtype="float16"
    )
    seeing = replace(MODEL, kind=MistralTraits(tekken=True, thinks=True, sees=True), revision="v1")
    other = replace(MODEL, kind=Parsers("hermes", "qwen3"))
    commands = [
        planned(),
        planned(place=Place(socket="/s"), key="sk"),
        planned(model=seeing, config=config, device="cuda", share=0.5),
        planned(model=other, config=None),
    ]
    written = {one.partition("=")[0] for command in commands for one in flags(command) if one.startswith("--")}
    assert len(written) > 20
    if find_spec("vllm") is not None:
        assert KNOWN
        assert {f"--{one.removeprefix('--no-')}" if one.startswith("--no-") else one for one in written} <= KNOWN
