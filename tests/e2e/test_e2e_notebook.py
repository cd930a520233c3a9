from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
CELLS = (
    """
    from toolchat import AsyncChat, Chat

    def get_height(mountain: str) -> str:
        \"\"\"Get the height of a mountain.

        Args:
            mountain: its name
        \"\"\"
        return "2962 m"

    chat = Chat(model="demo", tools=[get_height], approve="allow", max_tokens=128, temperature=0)
    chat.ask("What is the height of the mountain Zugspitze?")
    """,
    "print([(call.name, call.status) for call in chat.last.calls]); chat.close()",
    """
    async with AsyncChat(model="demo", max_tokens=32, temperature=0) as other:
        greeting = await other.ask("Hello!")
    greeting
    """,
)


def notebook(cells: tuple[str, ...]) -> dict[str, Any]:
    rows = [
        {
            "cell_type": "code",
            "id": f"cell{number}",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": textwrap.dedent(cell).strip(),
        }
        for number, cell in enumerate(cells)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": rows, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.engine
def test_a_notebook_shows_an_answer_as_markdown_and_runs_its_own_functions(cached_demo: Path, tmp_path: Path) -> None:
    # Beside the installed packages and not among them.
    extra = tmp_path / "jupyter"
    install = [sys.executable, "-m", "pip", "install", "-q", "--target", str(extra), "nbclient", "ipykernel"]
    subprocess.run(install, check=True, timeout=280)
    source, out = tmp_path / "chat.ipynb", tmp_path / "out.ipynb"
    source.write_text(json.dumps(notebook(CELLS)))
    script = (
        "import nbformat, nbclient, sys\n"
        "book = nbformat.read(sys.argv[1], as_version=4)\n"
        "nbclient.NotebookClient(book, timeout=200, kernel_name='python3').execute()\n"
        "nbformat.write(book, sys.argv[2])\n"
    )
    kernel = extra / "share/jupyter/kernels/python3"
    environment = {
        **os.environ,
        "PYTHONPATH": f"{REPOSITORY}:{extra}",
        "JUPYTER_PATH": str(kernel.parents[1]),
        "JUPYTER_PLATFORM_DIRS": "1",
    }
    run = [sys.executable, "-c", script, str(source), str(out)]
    subprocess.run(run, check=True, cwd=tmp_path, env=environment, timeout=280)
    cells = json.loads(out.read_text())["cells"]
    (shown,) = [output["data"] for output in cells[0]["outputs"] if output["output_type"] == "execute_result"]
    assert "".join(shown["text/markdown"]).strip()
    stderr = "".join("".join(output["text"]) for output in cells[0]["outputs"] if output.get("name") == "stderr")
    assert "get_height runs in a thread of this program" in stderr
    assert "('get_height', 'ok')" in "".join(cells[1]["outputs"][0]["text"])
    (greeting,) = [output["data"] for output in cells[2]["outputs"] if output["output_type"] == "execute_result"]
    assert "".join(greeting["text/markdown"]).strip()
    print("".join(shown["text/markdown"]), "|", "".join(greeting["text/markdown"]))  # pytest shows it with -s
