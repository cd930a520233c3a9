from __future__ import annotations

import os

import pytest

from toolchat.tools.host import process_tree
from toolchat.tools.host.process_tree import children, descendants


@pytest.mark.process
def test_the_children_of_a_process_are_found_without_the_kernels_list() -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(read, 1)
        os._exit(0)
    try:
        assert pid in children(os.getpid())
        assert pid in descendants(os.getppid()) or os.getppid() == 0
        found = {child for child in process_tree._pids() if process_tree._parent(child) == os.getpid()}
        assert pid in found
    finally:
        os.write(write, b"x")
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)
