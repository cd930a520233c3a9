from __future__ import annotations

from pathlib import Path

import pytest

from toolchat.engine import cgroups, config
from toolchat.engine.cgroups import granted_cores, granted_memory

MIB = 1024**2
CORES = 64
MACHINE = 500_000 * MIB


@pytest.fixture(autouse=True)
def a_machine_of_64_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "_visible_cores", lambda: CORES)


class Machine:
    """A root folder with /proc and /sys of a process in control groups."""

    def __init__(self, root: Path, own: str, *mounts: str) -> None:
        self.root = root
        self.put("proc/meminfo", f"MemTotal: 9 kB\nMemAvailable:   {MACHINE // 1024} kB\n")
        self.put("proc/self/cgroup", own)
        rows = ["24 30 0:22 / /proc rw,nosuid shared:12 - proc proc rw\n"]
        rows += [f"{31 + number} 30 0:{number} {mount}\n" for number, mount in enumerate(mounts)]
        self.put("proc/self/mountinfo", "".join(rows))

    def put(self, name: str, content: str | int) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(content))

    def group(self, folder: str, **files: str | int) -> None:
        """Files of the group in `folder` below /sys/fs/cgroup; "__" in a name stands for a dot."""
        for name, content in files.items():
            self.put(f"sys/fs/cgroup/{folder}/{name.replace('__', '.')}", f"{content}\n")

    @property
    def cores(self) -> float:
        return granted_cores(self.root)

    @property
    def memory(self) -> int:
        return granted_memory(self.root)


def version_2(root: Path, own: str = "/") -> Machine:
    return Machine(root, f"0::{own}\n", "/ /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate")


def version_1(root: Path, own: str, mounted: str = "/") -> Machine:
    return Machine(
        root,
        f"11:memory:{own}\n4:cpu,cpuacct:{own}\n1:name=systemd:{own}\n0::/\n",
        f"{mounted} /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory",
        f"{mounted} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
        "/ /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
    )


def test_without_control_groups_all_of_the_machine_is_granted(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "")
    assert (machine.cores, machine.memory) == (CORES, MACHINE)


def test_without_proc_the_free_memory_counts(tmp_path: Path) -> None:
    assert granted_cores(tmp_path) == CORES
    assert granted_memory(tmp_path) > 0


def test_a_container_of_version_2_has_its_quota_and_its_limit(tmp_path: Path) -> None:
    machine = version_2(tmp_path)
    machine.group("", cpu__max="200000 100000", memory__max=4000 * MIB, memory__current=1000 * MIB)
    assert (machine.cores, machine.memory) == (2, 3000 * MIB)


def test_no_limit_of_version_2_is_none(tmp_path: Path) -> None:
    machine = version_2(tmp_path)
    machine.group("", cpu__max="max 100000", memory__max="max", memory__high="max", memory__current=7)
    assert (machine.cores, machine.memory) == (CORES, MACHINE)


def test_the_least_of_nested_slices_holds(tmp_path: Path) -> None:
    machine = version_2(tmp_path, "/user.slice/user-1000.slice/run.scope")
    machine.group("user.slice", cpu__max="400000 100000", memory__max=9000 * MIB, memory__current=8000 * MIB)
    machine.group("user.slice/user-1000.slice", cpu__max="75000 50000", memory__max="max", memory__current=5)
    machine.group("user.slice/user-1000.slice/run.scope", cpu__max="max", memory__max=5000 * MIB, memory__current=0)
    assert (machine.cores, machine.memory) == (1.5, 1000 * MIB)


def test_a_slice_beside_ones_own_does_not_count(tmp_path: Path) -> None:
    machine = version_2(tmp_path, "/a/b")
    machine.group("a/b", cpu__max="max 100000")
    machine.group("a/c", cpu__max="100000 100000", memory__max=1, memory__current=0)
    assert (machine.cores, machine.memory) == (CORES, MACHINE)


def test_files_that_are_only_cached_count_as_room(tmp_path: Path) -> None:
    machine = version_2(tmp_path)
    machine.group("", memory__max=4000 * MIB, memory__current=3900 * MIB)
    machine.group("", memory__stat=f"anon 5\ninactive_file {3000 * MIB}\nactive_file {800 * MIB}")
    assert machine.memory == 3100 * MIB


def test_beyond_memory_high_there_is_no_room(tmp_path: Path) -> None:
    machine = version_2(tmp_path)
    machine.group("", memory__max=4000 * MIB, memory__high=2000 * MIB, memory__current=500 * MIB)
    assert machine.memory == 1500 * MIB


def test_a_group_that_is_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    machine = version_2(tmp_path)
    machine.group("", memory__max=1000 * MIB, memory__current=1200 * MIB)
    assert machine.memory == 0


def test_a_service_of_version_1_has_its_quota_and_its_limit(tmp_path: Path) -> None:
    machine = version_1(tmp_path, "/system.slice/chat.service")
    machine.group("cpu,cpuacct/system.slice/chat.service", cpu__cfs_quota_us=250000, cpu__cfs_period_us=100000)
    machine.group(
        "memory/system.slice/chat.service",
        memory__limit_in_bytes=4000 * MIB,
        memory__usage_in_bytes=3000 * MIB,
        memory__stat=f"inactive_file 1\ntotal_inactive_file {500 * MIB}",
    )
    assert (machine.cores, machine.memory) == (2.5, 1500 * MIB)


def test_no_limit_of_version_1_is_none(tmp_path: Path) -> None:
    machine = version_1(tmp_path, "/")
    machine.group("cpu,cpuacct", cpu__cfs_quota_us=-1, cpu__cfs_period_us=100000)
    machine.group("memory", memory__limit_in_bytes=9223372036854771712, memory__usage_in_bytes=3000 * MIB)
    assert (machine.cores, machine.memory) == (CORES, MACHINE)


def test_the_slice_above_a_service_of_version_1_counts_too(tmp_path: Path) -> None:
    machine = version_1(tmp_path, "/system.slice/chat.service")
    machine.group("cpu,cpuacct/system.slice/chat.service", cpu__cfs_quota_us=-1, cpu__cfs_period_us=100000)
    machine.group("cpu,cpuacct/system.slice", cpu__cfs_quota_us=100000, cpu__cfs_period_us=100000)
    assert machine.cores == 1


@pytest.mark.parametrize("own", ["/docker/0123", "/../../docker/0123", "/elsewhere"])
def test_a_container_that_is_told_its_path_on_the_machine_looks_where_it_is_mounted(tmp_path: Path, own: str) -> None:
    machine = version_1(tmp_path, own, mounted="/docker/0123")
    machine.group("cpu,cpuacct", cpu__cfs_quota_us=300000, cpu__cfs_period_us=100000)
    machine.group("memory", memory__limit_in_bytes=700 * MIB, memory__usage_in_bytes=0)
    assert (machine.cores, machine.memory) == (3, 700 * MIB)


def test_a_tree_may_be_mounted_at_a_place_with_blanks(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/a\n", r"/ /sys/fs/cgroup/my\040tree rw - cgroup2 none rw")
    machine.group("my tree/a", cpu__max="100000 100000")
    assert machine.cores == 1


def test_where_both_versions_are_mounted_each_controller_is_found_in_its_own(tmp_path: Path) -> None:
    machine = Machine(
        tmp_path,
        "3:memory:/box\n0::/box\n",
        "/ /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
        "/ /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
    )
    machine.group("memory/box", memory__limit_in_bytes=800 * MIB, memory__usage_in_bytes=300 * MIB)
    machine.group("unified/box", cpu__max="500000 100000")
    assert (machine.cores, machine.memory) == (5, 500 * MIB)


@pytest.mark.parametrize("row", ["", "x", "200000 0", "0 100000", "-1 100000", "200000 y"])
def test_what_the_kernel_would_not_write_is_no_quota(tmp_path: Path, row: str) -> None:
    machine = version_2(tmp_path)
    machine.group("", cpu__max=row)
    assert machine.cores == CORES


@pytest.mark.parametrize(
    ("cores", "threads", "load_threads"),
    [(1.0, 1, 1), (0.5, 1, 1), (1.5, 1, 1), (2.0, 1, 2), (2.5, 2, 2), (64.0, 63, 64)],
)
def test_threads_stay_within_the_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: float, threads: int, load_threads: int
) -> None:
    (tmp_path / "params.json").write_text('{"dim": 64, "n_layers": 1, "n_heads": 1, "max_seq_len": 64}')
    monkeypatch.setattr(config, "granted_cores", lambda: cores)
    planned = config.plan("m", tmp_path, "cpu")
    assert (planned.threads, planned.load_threads) == (threads, load_threads)
