from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from toolchat.tools.host.protocol import ChildRequest, HostRequest, ProcessSetup, Share

SHARES = st.builds(Share, st.lists(st.text(), max_size=3).map(tuple), st.booleans())
NUMBERS = st.integers(0, 2**40)
# Bytes of a folder's name that are not UTF-8 are the low halves of surrogate pairs in Python.
TEXTS = st.text(st.characters(codec="utf-8") | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF), max_size=20)


@given(
    st.builds(
        HostRequest,
        NUMBERS,
        TEXTS,
        NUMBERS,
        NUMBERS,
        st.none() | SHARES,
        st.booleans(),
        NUMBERS,
        NUMBERS,
        st.lists(TEXTS, max_size=3).map(tuple),
    )
)
def test_a_host_is_asked_for_what_the_chat_meant(request: HostRequest) -> None:
    assert HostRequest.decode(request.encode()) == request


@given(
    st.builds(
        ChildRequest,
        st.builds(ProcessSetup, TEXTS, st.none() | TEXTS, st.none() | NUMBERS, st.booleans()),
        NUMBERS,
        NUMBERS,
        NUMBERS,
        SHARES,
        NUMBERS,
    )
)
def test_an_interpreter_of_its_own_is_asked_for_what_the_host_meant(request: ChildRequest) -> None:
    assert ChildRequest.decode(request.encode()) == request
