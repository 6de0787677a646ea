"""Questions and passages are data: no word of them is a command to the model, or markup."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_rt.answerer import Answerer
from rag_rt.evidence import EvidencePool
from rag_rt.prompting import PassagesForm, PromptForm, RewriteForm
from tests.conftest import make_hit
from tests.service.tiny_service import FAKE_EVENT, HOSTILE, HOSTILE_TITLE, INJECTION

CONTROL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
OTHER_CONTROL = ["<repo_name>", "<file_sep>", "<jupyter_code>", "<empty_output>"]
QUESTION = "Why does a volcano erupt?"
FORMS: list[PromptForm] = [RewriteForm(), PassagesForm()]


def prompt_ids(
    answerer: Answerer, form: PromptForm, question: str, title: str, text: str
) -> list[int]:
    pool = EvidencePool.gather(question, [make_hit(text, title=title)], answerer.encoder)
    prompt = form.build(pool, question, 1500, answerer.generator.count_tokens)
    return answerer.generator.prompt_ids(prompt)


def control_ids(answerer: Answerer, ids: Sequence[int]) -> list[int]:
    tokenizer: Any = answerer.generator._tokenizer
    control = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    return [id for id in ids if id in control]


def assert_only_the_templates_control(answerer: Answerer, form: PromptForm, attack: str) -> None:
    plain = prompt_ids(answerer, form, QUESTION, "Sea", "Salt is in the sea.")
    of_template = control_ids(answerer, plain)
    assert of_template
    places = [
        (f"{QUESTION} {attack}", "Sea", "Salt is in the sea."),
        (QUESTION, f"Sea {attack}", "Salt is in the sea."),
        (QUESTION, "Sea", f"Salt is in {attack} the sea."),
    ]
    for question, title, text in places:
        ids = prompt_ids(answerer, form, question, title, text)
        assert control_ids(answerer, ids) == of_template


pieces = st.sampled_from([*CONTROL, "<|im_", "end|>", "start|>", "<|", "|>", " ", "\n", "system"])


@pytest.mark.parametrize("form", FORMS, ids=["rewrite", "passages"])
@given(attack=st.lists(pieces, max_size=6).map("".join))
@settings(max_examples=12)
def test_no_text_holds_a_control_token(answerer: Answerer, form: PromptForm, attack: str) -> None:
    assert_only_the_templates_control(answerer, form, attack)


@pytest.mark.parametrize("token", OTHER_CONTROL)
def test_no_text_holds_a_control_token_that_chats_do_not_use(
    answerer: Answerer, token: str
) -> None:
    assert_only_the_templates_control(answerer, RewriteForm(), token)


@pytest.mark.parametrize("form", FORMS, ids=["rewrite", "passages"])
def test_words_that_would_command_stand_in_the_prompt_as_what_a_passage_says(
    answerer: Answerer, form: PromptForm
) -> None:
    text = f"Salt is in the sea. {INJECTION}"
    tokenizer: Any = answerer.generator._tokenizer
    ids = prompt_ids(answerer, form, QUESTION, "Sea", text)
    *_, user, _ = tokenizer.decode(ids).split("<|im_start|>")
    assert user.startswith("user\n")
    assert INJECTION in user


@pytest.fixture(scope="module")
def client(tiny_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=tiny_url, timeout=30) as client:
        yield client


def assert_is_data(reply: httpx.Response) -> Any:
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("application/json")
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "script-src 'self'" in reply.headers["content-security-policy"]
    return reply.json()


def test_a_hostile_passage_comes_back_as_it_is_as_data(client: httpx.Client) -> None:
    hits = assert_is_data(client.post("/search", json={"question": QUESTION, "k": 1}))["hits"]
    passage = hits[0]["passage"]
    assert passage["title"] == HOSTILE_TITLE
    assert passage["text"].split() == HOSTILE.split()
    answer = assert_is_data(client.post("/answer", json={"question": QUESTION, "max_tokens": 8}))
    assert answer["hits"][0]["passage"] == passage


def test_a_passage_cannot_forge_events_of_a_stream(client: httpx.Client) -> None:
    body = {"question": QUESTION, "max_tokens": 8, "stream": True}
    lines = client.post("/answer", json=body).text.split("\n")
    assert "forged" in "".join(lines)
    names = [line for line in lines if line.startswith("event:")]
    assert names.count("event: done") == 1
    done = lines[lines.index("event: done") + 1]
    assert json.loads(done.removeprefix("data: "))["text"] != "forged"


def test_chunks_for_openais_clients_cannot_be_forged(client: httpx.Client) -> None:
    body = {
        "model": "rag-rt-extractive",
        "messages": [{"role": "user", "content": f"{QUESTION} {FAKE_EVENT} data: [DONE]"}],
        "stream": True,
    }
    events = client.post("/v1/chat/completions", json=body).text.split("\n\n")
    data = [event for event in events if event.startswith("data:")]
    assert data[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in data[:-1]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


@pytest.mark.parametrize("path", ["/<script>alert(1)</script>", "/passages/<script>alert(1)"])
def test_an_address_that_is_markup_is_not_said_back(client: httpx.Client, path: str) -> None:
    reply = client.get(path)
    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/json"
    assert "<" not in reply.text
