from __future__ import annotations

import errno
import json
import os
import random
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fake_hub import FakeHub, Repository, safetensors, sha256

from toolchat.models import hub as models
from toolchat.models import hub_cache, parts
from toolchat.models.choice import choose_model, obtain
from toolchat.models.hub import RemoteSize
from toolchat.wire.errors import EngineError, UsageError

NAME = "mistralai/Tiny"
SHARDS = ("consolidated-00001-of-00002.safetensors", "consolidated-00002-of-00002.safetensors")


def payload(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def single(size: int = 300_000) -> dict[str, bytes]:
    return {
        "params.json": b'{"dim": 8}',
        "config.json": b'{"max_position_embeddings": 32768}',
        "tekken.json": payload(20_000, 1),
        "consolidated.safetensors": safetensors(payload(size)),
        "model.safetensors": safetensors(payload(size, 5)),  # the same for transformers: not fetched
        "README.md": b"a card",
    }


def sharded() -> dict[str, bytes]:
    files = {name: data for name, data in single().items() if name != "consolidated.safetensors"}
    index = {"metadata": {}, "weight_map": {"a": SHARDS[0], "b": SHARDS[1]}}
    return files | {
        SHARDS[0]: safetensors(payload(150_000, 2)),
        SHARDS[1]: safetensors(payload(200_000, 3)),
        "consolidated.safetensors.index.json": json.dumps(index).encode(),
    }


def cut_after(hub: FakeHub, count: int | None) -> None:
    hub.sent, hub.cut_after = 0, count


def test_a_model_is_fetched_whole_and_nothing_else_of_its_repository(hub: FakeHub) -> None:
    hub.repositories[NAME] = Repository(single())
    folder = models.pull(NAME)
    assert models.cached(NAME) == folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "consolidated.safetensors",
        "params.json",
        "tekken.json",
    ]
    for path in folder.iterdir():
        assert path.read_bytes() == single()[path.name]
    left = [path.name for path in (folder.parent.parent / "blobs").iterdir() if "toolchat" in path.name]
    assert left == []


def test_what_was_fetched_is_what_the_hubs_own_library_finds_in_its_cache(hub: FakeHub) -> None:
    from huggingface_hub import scan_cache_dir, try_to_load_from_cache

    hub.repositories[NAME] = Repository(single())
    folder = models.pull(NAME)
    assert try_to_load_from_cache(NAME, "consolidated.safetensors") == str(folder / "consolidated.safetensors")
    cache = scan_cache_dir()
    assert [repository.repo_id for repository in cache.repos] == [NAME]
    assert (cache.warnings, list(cache.incomplete_files)) == ([], [])


def test_an_interrupted_download_goes_on_where_it_stopped(hub: FakeHub) -> None:
    hub.repositories[NAME] = Repository(single())
    weights = len(single()["consolidated.safetensors"])
    cut_after(hub, 200_000)
    with pytest.raises(
        EngineError, match=r"^mistralai/Tiny: the connection to the Hugging Face hub broke off \("
    ) as cut:
        models.pull(NAME)
    assert str(cut.value).endswith("go on with the same command: what is fetched already is kept")
    first = hub.sent
    assert 150_000 < first <= 200_000
    assert models.cached(NAME) is None

    cut_after(hub, None)
    sizes: list[models.RemoteSize] = []
    folder = models.pull(NAME, before=sizes.append)
    assert [size.missing for size in sizes] == [weights + 20_000 - first]
    assert hub.sent == weights + 20_000 - first, "what was there is fetched again"
    assert (folder / "consolidated.safetensors").read_bytes() == single()["consolidated.safetensors"]


def test_a_download_that_its_progress_stops_goes_on_from_there(hub: FakeHub) -> None:
    hub.repositories[NAME] = Repository(single())

    class StoppedError(Exception):
        pass

    def stop(stage: str, fraction: float) -> None:
        if fraction > 0.3:
            raise StoppedError

    slow = threading.Event()
    hub.on_large = lambda: slow.wait(0.002)  # else it is all there before the first report
    with pytest.raises(EngineError, match="StoppedError"):
        models.pull(NAME, stop)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch-")]
    there = hub_cache.repository_folder(Path(str(hub_cache.cache_root())), NAME) / "blobs"
    digest = sha256(single()["consolidated.safetensors"])
    file = parts.LargeFile(there / digest, len(single()["consolidated.safetensors"]), digest, there / "lock")
    assert parts.bytes_there(file) > 50_000

    slow.set()
    missing = file.size - parts.bytes_there(file)
    sizes: list[models.RemoteSize] = []
    models.pull(NAME, before=sizes.append)
    assert [size.missing for size in sizes] == [missing]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_passes_through(hub: FakeHub, stop: type[BaseException]) -> None:
    hub.repositories[NAME] = Repository(single())

    def report(stage: str, fraction: float) -> None:
        raise stop

    with pytest.raises(stop):
        models.pull(NAME, report)


def test_a_connection_that_breaks_now_and_then_is_tried_again(hub: FakeHub) -> None:
    hub.repositories[NAME] = Repository(single())
    hub.refusals = [503, 429, 500]
    pieces = iter(range(10**6))

    def sometimes() -> None:
        if next(pieces) % 20 == 7:
            hub.cut_after = hub.sent  # this piece is cut off
        else:
            hub.cut_after = None

    hub.on_large = sometimes
    folder = models.pull(NAME)
    assert (folder / "consolidated.safetensors").read_bytes() == single()["consolidated.safetensors"]


def test_a_sharded_model_of_which_a_shard_is_missing_is_not_whole_and_is_repaired(hub: FakeHub) -> None:
    hub.repositories[NAME] = Repository(sharded())
    folder = models.pull(NAME)
    blob = (folder / SHARDS[1]).resolve()
    (folder / SHARDS[1]).unlink()
    blob.unlink()
    assert models.cached(NAME) is None
    (entry,) = models.cached_models()
    assert (entry.name, entry.lacks) == (NAME, SHARDS[1])
    hub.sent = 0
    assert models.pull(NAME) == folder
    assert hub.sent == len(sharded()[SHARDS[1]])
    (entry,) = models.cached_models()
    assert entry.lacks == ""
    assert entry.bytes >= sum(len(data) for name, data in sharded().items() if name in SHARDS)


def test_a_link_of_the_cache_that_leads_nowhere_is_a_missing_file(hub: FakeHub) -> None:
    hub.repositories[NAME] = Repository(sharded())
    folder = models.pull(NAME)
    (folder / SHARDS[0]).resolve().unlink()
    assert (folder / SHARDS[0]).is_symlink()
    assert models.cached(NAME) is None
    (entry,) = models.cached_models()
    assert entry.lacks == SHARDS[0]
    assert models.pull(NAME) == folder
    assert (folder / SHARDS[0]).read_bytes() == sharded()[SHARDS[0]]


def test_a_file_that_is_cut_off_is_fetched_again(hub: FakeHub) -> None:
    hub.repositories[NAME] = Repository(single())
    folder = models.pull(NAME)
    blob = (folder / "consolidated.safetensors").resolve()
    with blob.open("r+b") as file:
        file.truncate(100_000)
    (entry,) = models.cached_models()
    assert entry.lacks.startswith("consolidated.safetensors is cut off: it has 100000 of ")
    assert models.cached(NAME) is None
    models.pull(NAME)
    assert (folder / "consolidated.safetensors").read_bytes() == single()["consolidated.safetensors"]


def test_a_tokenizer_that_is_cut_off_is_fetched_again_with_what_else_is_missing(hub: FakeHub) -> None:
    hub.repositories[NAME] = Repository(sharded())
    folder = models.pull(NAME)
    with (folder / "tekken.json").resolve().open("r+b") as file:
        file.truncate(100)
    hub_cache.discard(folder / SHARDS[0], folder.parent.parent)
    models.pull(NAME)
    assert (folder / "tekken.json").read_bytes() == sharded()["tekken.json"]


def test_weights_that_come_damaged_are_never_used(hub: FakeHub) -> None:
    hub.repositories[NAME] = Repository(single())
    hub.damaged = True
    with pytest.raises(EngineError, match=r"came damaged from the hub \(its SHA-256 is wrong\), and is deleted"):
        models.pull(NAME)
    hub.damaged = False
    folder = models.pull(NAME)
    assert (folder / "consolidated.safetensors").read_bytes() == single()["consolidated.safetensors"]


@pytest.mark.parametrize("mend", ["ranges", "sizes"])
def test_a_server_without_ranges_or_sizes_is_served_by_the_hubs_library(hub: FakeHub, mend: str) -> None:
    hub.repositories[NAME] = Repository(single(), sizes=mend != "sizes")
    hub.ranges = mend != "ranges"
    stages: list[str] = []
    told: list[RemoteSize] = []
    folder = models.pull(NAME, lambda stage, _: stages.append(stage), told.append)
    assert models.cached(NAME) == folder
    assert any(stage.startswith("fetching") for stage in stages)
    assert len(told) == (0 if mend == "sizes" else 1)


def test_the_size_is_told_once_before_the_first_byte(hub: FakeHub, tmp_path: Path) -> None:
    hub.repositories[NAME] = Repository(single())
    told: list[RemoteSize] = []

    def before(size: RemoteSize) -> None:
        assert hub.large_requests() == []
        told.append(size)

    models.pull(NAME, before=before)
    (size,) = told
    assert size.weights == len(single()["consolidated.safetensors"])
    small = sum(len(single()[name]) for name in ("params.json", "config.json", "tekken.json"))
    assert (size.other, size.cached, size.folder) == (small, 0, tmp_path / "cache")
    assert str(size).startswith(f"320 kB to fetch into {tmp_path}/cache, ")
    assert str(size).endswith(" free")
    models.pull(NAME, before=before)
    assert len(told) == 1, "nothing is to be fetched"


@pytest.mark.parametrize("revision", [None, "v1"])
def test_a_branch_that_moves_on_meanwhile_mixes_no_files_of_two_commits(hub: FakeHub, revision: str | None) -> None:
    old, new = Repository(single(), revisions=("v1",)), Repository(single(200_000) | {"params.json": b'{"dim": 16}'})
    hub.repositories[NAME], hub.past[old.commit] = old, old

    def move_on(_: RemoteSize) -> None:
        hub.repositories[NAME] = replace(new, revisions=("v1",))

    folder = models.pull(NAME, before=move_on, revision=revision)
    assert folder.name == old.commit
    for path in folder.iterdir():
        assert path.read_bytes() == old.files[path.name]
    assert models.cached(NAME, revision) == folder
    assert (folder.parent.parent / "refs" / (revision or "main")).read_text() == old.commit
    assert [path.name for path in folder.parent.iterdir()] == [old.commit]


def test_a_download_can_be_refused_by_its_size(hub: FakeHub) -> None:
    hub.repositories[NAME] = Repository(single())

    def refuse(size: RemoteSize) -> None:
        raise EngineError("too large for this card")

    with pytest.raises(EngineError, match=r"^too large for this card$"):
        models.pull(NAME, before=refuse)
    assert hub.large_requests() == []


def test_obtaining_a_model_passes_the_size_on_and_fetches_nothing_that_is_here(hub: FakeHub, tmp_path: Path) -> None:
    hub.repositories[NAME] = Repository(single())
    told: list[RemoteSize] = []
    choice = choose_model(NAME, tmp_path)
    assert (choice.kind, choice.folder) == ("hub", None)
    folder = obtain(choice, tmp_path, before=told.append)
    assert [size.name for size in told] == [NAME]
    asked = len(hub.requests)
    assert choose_model(NAME, tmp_path).folder == folder
    assert obtain(choose_model(NAME, tmp_path), tmp_path, before=told.append) == folder
    assert (len(hub.requests), len(told)) == (asked, 1)


def test_progress_says_how_much_of_how_much(hub: FakeHub) -> None:
    hub.repositories[NAME] = Repository(single(3_000_000))
    hub.on_large = lambda: threading.Event().wait(0.0005)
    seen: list[tuple[str, float]] = []
    models.pull(NAME, lambda stage, fraction: seen.append((stage, fraction)))
    stages = [stage for stage, _ in seen if stage.startswith("fetching")]
    assert list(dict.fromkeys(stages))[:2] == ["fetching, asking the hub", "fetching 0.0 of 3.0 MB, file 1 of 4"]
    assert stages[-1].startswith("fetching 3.0 of 3.0 MB")
    assert stages[-1].endswith("file 4 of 4")
    assert len(set(stages)) > 3
    fractions = [fraction for stage, fraction in seen if stage.startswith("fetching")]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0, abs=0.01)


def test_a_disk_that_is_too_small_is_refused_before_anything_is_fetched(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories[NAME] = Repository(single())
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100_000))
    with pytest.raises(EngineError) as failure:
        models.pull(NAME)
    line = str(failure.value)
    assert line.startswith("mistralai/Tiny: the disk is too full: 320 kB are to be fetched into ")
    assert line.endswith("and 100 kB are free; make room, or set HF_HOME to a folder on another disk")
    assert hub.large_requests() == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_is_no_fault_of_the_network(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    hub.repositories[NAME] = Repository(single())
    written = 0
    pwrite = os.pwrite

    def full(handle: int, data: bytes, offset: int) -> int:
        nonlocal written
        if written > 150_000:
            raise OSError(number, os.strerror(number))
        written += len(data)
        return pwrite(handle, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(EngineError) as failure:
        models.pull(NAME)
    line = str(failure.value)
    assert line.startswith(f"mistralai/Tiny: the disk is full ({os.strerror(number)}): ")
    assert "HF_HOME" in line
    assert "network" not in line
    monkeypatch.setattr(os, "pwrite", pwrite)
    hub.sent = 0
    models.pull(NAME)
    assert hub.sent < 320_000 - 100_000, "what was there is fetched again"


def test_the_disks_failure_is_found_below_what_libraries_make_of_it(hub: FakeHub) -> None:
    from toolchat.models.hub_library import told

    with pytest.raises(EngineError, match="the disk is full"), told(NAME):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("download failed") from error
    with pytest.raises(EngineError, match="check the network"), told(NAME):
        raise RuntimeError("download failed") from PermissionError(errno.EPERM, "Operation not permitted")
    with pytest.raises(EngineError, match=r"cannot be written to \(Read-only file system\); set HF_HOME"), told(NAME):
        raise OSError(errno.EROFS, "Read-only file system", "/cache/blobs/x")


def test_a_gated_model_says_where_its_terms_are_accepted_before_its_size_is_told(hub: FakeHub) -> None:
    hub.repositories[NAME] = Repository(single(), gated=True)
    with pytest.raises(EngineError, match=r"wants its terms accepted first, at https://huggingface\.co/mistralai/Tiny"):
        models.pull(NAME, before=lambda size: pytest.fail("told"))


def test_a_model_that_there_is_not(hub: FakeHub) -> None:
    with pytest.raises(EngineError, match="there is no such model on the Hugging Face hub, or it is private"):
        models.pull("mistralai/Nothing")


def test_a_repository_in_neither_format_is_refused_before_anything_is_fetched(hub: FakeHub) -> None:
    hub.repositories[NAME] = Repository({"README.md": b"", "model.gguf": b"1"})
    with pytest.raises(EngineError, match=r"not a model in Mistral's format: the repository lacks params\.json, weig"):
        models.pull(NAME)
    assert not any("resolve" in request for request in hub.requests)


def test_the_token_goes_to_the_hub_and_not_to_the_storage(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.repositories[NAME] = Repository(single())
    models.pull(NAME)
    assert hub.authorized == {"hub"}
    assert hub.large_requests()


def without_config(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name != "config.json"}


def test_a_model_fetched_by_an_older_version_gets_its_config_once(hub: FakeHub) -> None:
    hub.repositories[NAME] = Repository(single())
    folder = models.pull(NAME)
    (folder / "config.json").unlink()
    assert models.cached(NAME) is None
    hub.sent = 0
    assert models.pull(NAME) == folder
    assert (folder / "config.json").read_bytes() == single()["config.json"]
    assert hub.sent == 0
    assert models.cached(NAME) == folder


def test_a_repository_without_config_is_asked_for_it_once(hub: FakeHub) -> None:
    hub.repositories[NAME] = Repository(without_config(single()))
    folder = models.pull(NAME)
    assert models.cached(NAME) == folder
    # As an older version left it.
    shutil.rmtree(folder.parent.parent / ".no_exist")
    assert models.cached(NAME) is None
    assert models.pull(NAME) == folder
    asked = len(hub.requests)
    assert models.cached(NAME) == folder
    assert len(hub.requests) == asked


@pytest.mark.parametrize("name", ["SYSTEM_PROMPT.txt", "generation_config.json"])
def test_a_small_file_that_another_program_did_not_fetch_is_fetched_once(hub: FakeHub, name: str) -> None:
    hub.repositories[NAME] = Repository(single() | {name: b"{}"})
    folder = models.pull(NAME)
    (folder / name).unlink()
    assert models.cached(NAME) is None
    hub.sent = 0
    assert models.pull(NAME) == folder
    assert (folder / name).read_bytes() == b"{}"
    assert hub.sent == 0
    asked = len(hub.requests)
    assert models.cached(NAME) == folder
    assert len(hub.requests) == asked


def test_without_a_network_a_model_without_config_works_and_asks_once_a_day(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    hub.repositories[NAME] = Repository(single())
    folder = models.pull(NAME)
    (folder / "config.json").unlink()
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert models.cached(NAME) is None
    assert models.pull(NAME) == folder
    assert models.cached(NAME) == folder
    note = folder.parent.parent / ".toolchat-asked"
    os.utime(note, (0, 0))
    assert models.cached(NAME) is None


def test_the_hubs_offline_mode_asks_nothing(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    hub.repositories[NAME] = Repository(single())
    folder = models.pull(NAME)
    (folder / "config.json").unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.requests)
    assert models.cached(NAME) == folder
    assert len(hub.requests) == asked


def test_another_download_of_the_same_file_is_waited_for(hub: FakeHub, tmp_path: Path) -> None:
    from filelock import FileLock

    hub.repositories[NAME] = Repository(single())
    digest = sha256(single()["consolidated.safetensors"])
    lock = FileLock(tmp_path / "cache" / ".locks" / "models--mistralai--Tiny" / f"{digest}.lock")
    Path(lock.lock_file).parent.mkdir(parents=True)
    lock.acquire()
    waited: list[str] = []

    def report(stage: str, fraction: float) -> None:
        if stage.startswith("waiting for another download"):
            waited.append(stage)
            lock.release()

    models.pull(NAME, report)
    assert len(waited) == 1


def test_a_model_is_removed_with_what_is_unfinished_of_it(hub: FakeHub, tmp_path: Path) -> None:
    hub.repositories[NAME] = Repository(single())
    cut_after(hub, 100_000)
    with pytest.raises(EngineError):
        models.pull(NAME)
    assert models.remove(NAME)
    assert not list((tmp_path / "cache").glob("models--*"))
    assert not models.remove(NAME)
    assert not models.remove("../cache")


@pytest.mark.parametrize("edit", [lambda text: "garbage\n" + text, lambda text: text + "not two\n", lambda text: ""])
def test_a_journal_that_makes_no_sense_begins_the_file_anew(hub: FakeHub, edit: Callable[[str], str]) -> None:
    hub.repositories[NAME] = Repository(single())
    cut_after(hub, 200_000)
    with pytest.raises(EngineError):
        models.pull(NAME)
    cut_after(hub, None)
    (journal,) = (Path(str(hub_cache.cache_root())) / "models--mistralai--Tiny" / "blobs").glob("*.toolchat.parts")
    journal.write_text(edit(journal.read_text()))
    folder = models.pull(NAME)
    assert (folder / "consolidated.safetensors").read_bytes() == single()["consolidated.safetensors"]


def other_format(**changes: bytes) -> dict[str, bytes]:
    config = b'{"vocab_size": 32768, "hidden_size": 8}'
    weights = safetensors(payload(200_000, 9))
    return {"config.json": config, "tekken.json": payload(20_000, 1), "model.safetensors": weights, **changes}


def test_a_repository_in_the_other_format_is_fetched_and_listed(hub: FakeHub) -> None:
    hub.repositories[NAME] = Repository(other_format(**{"tokenizer.json": b"{}", "pytorch_model.bin": b"1"}))
    folder = models.pull(NAME)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors", "tekken.json"]
    assert models.cached(NAME) == folder
    assert [(model.name, model.lacks) for model in models.cached_models()] == [(NAME, "")]


@pytest.mark.parametrize("tokenizer", [None, "tokenizer.model"])
def test_a_repository_without_mistrals_tokenizer_is_refused_before_its_weights_are_fetched(
    hub: FakeHub, tokenizer: str | None
) -> None:
    name = "somebody/Mistral-7B-Instruct-v0.3-AWQ"
    files = {file: data for file, data in other_format().items() if file != "tekken.json"}
    hub.repositories[name] = Repository(files | ({tokenizer: b"x"} if tokenizer else {}))
    with pytest.raises(EngineError) as refused:
        models.pull(name)
    line = str(refused.value)
    assert "hf download mistralai/Mistral-7B-Instruct-v0.3 tokenizer.model.v3 --local-dir ./Mistral-7B-Instruct" in line
    assert line.endswith("then --model ./Mistral-7B-Instruct-v0.3-AWQ")
    assert hub.large_requests() == []


def test_another_programs_model_in_the_cache_is_not_listed(hub: FakeHub) -> None:
    from huggingface_hub import snapshot_download

    hub.repositories["qwen/Other"] = Repository(
        {"config.json": b"{}", "model.safetensors": b"1", "tokenizer.json": b""}
    )
    snapshot_download("qwen/Other")
    assert list(models.cached_models()) == []


def test_a_revision_is_fetched_and_found_apart_from_the_main_branch(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories[NAME] = Repository(single())
    main = models.pull(NAME)
    hub.repositories[NAME] = old = Repository(single(200_000), revisions=("v1",))
    branch = models.pull(NAME, revision="v1")
    assert (models.cached(NAME), models.cached(NAME, "v1"), models.cached(NAME, old.commit)) == (main, branch, branch)
    assert branch.name == old.commit
    assert models.cached(NAME, "v2") is None
    assert models.cached(NAME, "../main") is None
    with pytest.raises(EngineError, match=r"no such revision \(--revision\); .*/mistralai/Tiny/tree/main lists"):
        models.pull(NAME, revision="v2")
    monkeypatch.setenv("TOOLCHAT_OFFLINE", "1")
    with pytest.raises(EngineError, match=r"Tiny \(revision v3\): not on this .*pull mistralai/Tiny --revision v3$"):
        models.pull(NAME, revision="v3")


def test_only_models_of_the_hub_have_revisions(tmp_path: Path) -> None:
    for name in ("demo", "./folder", str(tmp_path)):
        with pytest.raises(UsageError, match="--revision v1: only models of the Hugging Face hub have revisions"):
            choose_model(name, tmp_path, "v1")
