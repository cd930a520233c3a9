from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchat.store.redaction import Redaction

HOME = Path("/home/anna")


def redaction(**environment: str) -> Redaction:
    made = Redaction.here(environment)
    return Redaction(made._secrets, [HOME])


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "GITHUB_TOKEN",
        "OPENAI_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "PGPASSWORD",
        "DB_PASSWORD_2",
        "my_secret",
        "SSH_PASSPHRASE",
        "GH_PAT",
        "GITHUBTOKEN",
        "KEY",
    ],
)
def test_a_variable_that_is_secret_by_its_name_is_replaced_by_that(name: str) -> None:
    assert redaction(**{name: "correct horse"}).text("it is correct horse.") == f"it is ${{{name}}}."


@pytest.mark.parametrize(
    "name", ["PATH", "TERM", "LANG", "KEYBOARD", "SSH_AUTH_SOCK", "TOKENIZERS_PARALLELISM", "EDITOR"]
)
def test_an_ordinary_variable_is_not(name: str) -> None:
    assert redaction(**{name: "correct horse"}).text("it is correct horse.") == "it is correct horse."


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Authorization: Bearer abc.def-123456", "Authorization: Bearer [redacted]"),
        ("Authorization: Basic YWJjOmRlZg==", "Authorization: Basic [redacted]"),
        ("curl -H 'Authorization: Bearer abcdefgh1'", "curl -H 'Authorization: Bearer [redacted]'"),
        ('{"accessToken": "abcd1234"}', '{"accessToken": "[redacted]"}'),
        ("a hf_abcdefghijklmnopqrstuv b", "a [redacted] b"),
        ("ghp_0123456789abcdefghijABCDEFGHIJ", "[redacted]"),
        ("https://anna:hunter2@host/x", "https://anna:[redacted]@host/x"),
        ('{"password": "hunter2", "user": "anna"}', '{"password": "[redacted]", "user": "anna"}'),
        ("{'api_key': 'abcd1234'}", "{'api_key': '[redacted]'}"),
        (r"{\"client_secret\": \"abcd1234\"}", r"{\"client_secret\": \"[redacted]\"}"),
        ("curl -H token=abcd1234 x", "curl -H token=[redacted] x"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----[redacted]-----END RSA PRIVATE KEY-----",
        ),
        ("/home/anna/work", "~/work"),
        ("file:///home/anna", "file://~"),
    ],
)
def test_what_has_the_form_or_the_place_of_a_secret_is_replaced_once(text: str, left: str) -> None:
    made = redaction()
    assert made.text(text) == left
    assert made.found.total() == 1
    assert made.text(left) == left
    assert made.found.total() == 1


@pytest.mark.parametrize(
    "text",
    [
        "/home/annabel/work",
        "/mnt/home/anna",
        "max_tokens=8192",
        "the token: a word",
        "password: ${DB_PASSWORD}",
        "task-based sk-1",
        "a basic understanding of bearer securities",
        "/home/anna.old/work",
        "Basic information: the password is set",
    ],
)
def test_what_only_looks_alike_stays(text: str) -> None:
    assert redaction().text(text) == text


@given(st.lists(st.text("ab ", max_size=4), max_size=6), st.data())
def test_a_secret_in_several_pieces_is_found_and_everything_else_stays_in_its_piece(
    words: list[str], data: st.DataObject
) -> None:
    whole = "s3cr3t!".join(words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    made = redaction(A_TOKEN="s3cr3t!").pieces(pieces)
    assert len(made) == len(pieces)
    assert "".join(made) == "${A_TOKEN}".join(words)
    assert all(after == before for before, after in zip(pieces, made, strict=True) if not set(before) & set("s3cr3t!"))


def test_texts_under_keys_that_are_secret_by_their_names_go_and_schemas_stay() -> None:
    schema = {"type": "object", "properties": {"password": {"type": "string"}}, "required": ["password"]}
    data: dict[str, Any] = {"arguments": {"dbPassword": "abc", "tokens": "x", "Authorization": "y"}, "schema": schema}
    assert redaction().data(data) == {
        "arguments": {"dbPassword": "[redacted]", "tokens": "x", "Authorization": "[redacted]"},
        "schema": schema,
    }


def test_the_bytes_of_an_image_stay_as_they_are() -> None:
    image = {"media_type": "image/png", "data": "c2VjcmV0c2VjcmV0", "file": "/home/anna/x.png"}
    assert redaction(A_TOKEN="c2VjcmV0").data(image) == {**image, "file": "~/x.png"}
