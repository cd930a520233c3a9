"""`toolchat serve` with vLLM's real server: OpenAI's client, curl and toolchat talk to it, and it leaves nothing."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiny_pixtral
from PIL import Image as Pillow

from toolchat.engine.served import below, identity_of, served_models
from toolchat.wire.errors import ExitCode

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
KEY = "sk-of-the-test"
QUESTION = "Can you tell me what the temperature will be in Dallas, in fahrenheit?"
CLIENT = """
import json, sys
from openai import AuthenticationError, OpenAI

url, key, question = sys.argv[1:]
tool = {"type": "function", "function": {"name": "get_current_weather", "description": "Get the weather of a city.",
        "parameters": {"type": "object", "required": ["city", "state", "unit"], "properties": {
            "city": {"type": "string"}, "state": {"type": "string"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}}}}}
asked = {"model": "demo", "messages": [{"role": "user", "content": question}], "tools": [tool], "temperature": 0}
try:
    OpenAI(base_url=url, api_key="wrong").chat.completions.create(**asked)
except AuthenticationError as error:
    print(error.status_code)
client = OpenAI(base_url=url, api_key=key)
print([model.id for model in client.models.list()])
(call,) = client.chat.completions.create(**asked).choices[0].message.tool_calls
print(call.function.name, json.loads(call.function.arguments)["city"])
pieces = client.chat.completions.create(**asked, stream=True)
print("".join(call.function.arguments or "" for piece in pieces for call in piece.choices[0].delta.tool_calls or ()))
"""
"""With the library of OpenAI, which vLLM brings along."""


@dataclass(frozen=True)
class Served:
    url: str
    process: subprocess.Popen[str]
    environment: dict[str, str]

    def curl(self, path: str, body: dict[str, Any], *headers: str) -> dict[str, Any]:
        asked = ["curl", "-sS", f"{self.url}{path}", "-H", "Content-Type: application/json", "-d", "@-"]
        for header in headers:
            asked += ["-H", header]
        return dict(json.loads(self.run(*asked, stdin=json.dumps(body))))

    def run(self, *command: str, stdin: str = "", code: int = 0) -> str:
        done = subprocess.run(
            command, input=stdin, env=self.environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout


@contextmanager
def serving(model: str, folder: Path, *arguments: str) -> Iterator[Served]:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    key = folder / "key"
    key.write_text(KEY)
    key.chmod(0o600)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "TOOLCHAT_API_KEY": KEY}
    log = folder / "serve.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "toolchat", "serve", model, f"--port={port}", f"--api-key-file={key}", *arguments],
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            env=environment,
        )
    try:
        assert process.stdout is not None
        assert "is served at" in process.stdout.readline(), log.read_text()[-4000:]
        yield Served(f"http://127.0.0.1:{port}", process, environment)
    finally:
        started = below(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
        assert [one for one in started if identity_of(one.pid) == one] == []
        assert len(started) > 2
    assert served_models() == []


def test_the_demo_model_for_openais_client_curl_and_toolchat(cached_demo: Path, tmp_path: Path) -> None:
    with serving("demo", tmp_path) as served:
        told = served.run(sys.executable, "-c", CLIENT, f"{served.url}/v1", KEY, QUESTION).splitlines()
        assert told[:3] == ["401", "['demo']", "get_current_weather Dallas"]
        assert json.loads(told[3])["city"] == "Dallas"
        (shown,) = json.loads(served.run(sys.executable, "-m", "toolchat", "ps", "--json"))["servers"]
        assert (shown["model"], shown["address"], shown["ready"]) == ("demo", served.url, True)
        assert shown["memory"] > 500 * 1024**2
        answered = json.loads(
            served.run(sys.executable, "-m", "toolchat", "ask", "--json", f"--server={served.url}", "--yes", QUESTION)
        )
        (call,) = answered["calls"]
        assert (call["name"], call["arguments"]["city"]) == ("get_current_weather", "Dallas")
        doctor = subprocess.run(
            [sys.executable, "-m", "toolchat", "doctor", f"--server={served.url}"],
            env=served.environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert "token profile" in doctor.stdout, doctor
        if shutil.which("curl"):
            greeting = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
            assert served.curl("/v1/chat/completions", greeting) == {"error": "Unauthorized"}
            # vLLM's own check leaves these open.
            for path in ("/invocations", "/generative_scoring", "/tokenize", "/metrics", "/version", "/docs"):
                assert served.curl(path, greeting) == {"error": "Unauthorized"}
            assert served.curl("/invocations", greeting, f"Authorization: Bearer {KEY}")["choices"]
            assert served.run("curl", "-sS", "-o", os.devnull, "-w", "%{http_code}", f"{served.url}/health") == "200"


def test_a_question_about_two_images(tmp_path: Path) -> None:
    """The request of the example that toolchat grew from: text, image, text, image, and a bearer token."""
    model = tmp_path / "tiny"
    tiny_pixtral.write(model)
    content: list[dict[str, Any]] = []
    files: list[Path] = []
    for color, text in (("red", "Describe this image."), ("blue", "And this one as well. Answer in French.")):
        picture = io.BytesIO()
        Pillow.new("RGB", (60, 40), color).save(picture, "PNG")
        files.append(tmp_path / f"{color}.png")
        files[-1].write_bytes(picture.getvalue())
        url = f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"
        content += [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
    asked = {"model": "tiny", "messages": [{"role": "user", "content": content}], "max_tokens": 8, "temperature": 0}
    with serving(str(model), tmp_path) as served:
        if shutil.which("curl"):
            answered = served.curl("/v1/chat/completions", asked, f"Authorization: Bearer {KEY}")
            assert answered["choices"][0]["message"]["content"]
            assert answered["usage"]["completion_tokens"] > 0
            words = [{"role": "user", "content": [part for part in content if part["type"] == "text"]}]
            without = served.curl("/v1/chat/completions", {**asked, "messages": words}, f"Authorization: Bearer {KEY}")
            # Three rows of four patches each, and the end of each row.
            assert answered["usage"]["prompt_tokens"] >= without["usage"]["prompt_tokens"] + 2 * 3 * (4 + 1)
        images = [f"--image={file}" for file in files]
        told = served.run(
            *(sys.executable, "-m", "toolchat", "ask", "--json", f"--server={served.url}", "--no-tools"),
            *("--max-tokens=8", *images, "Describe both images."),
            code=ExitCode.TRUNCATED,
        )
        assert json.loads(told)["answer"]
