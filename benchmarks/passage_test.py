"""Whether a model finds what stands in one passage among many: the prompts, and how they score.

A question of Natural Questions has an answer of a paragraph. That paragraph stands at a place of
chance among passages that answer other questions, as many as a prompt of some length holds. The
question follows, and how likely the paragraph's first sentence then is as the reply says whether it
was found.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from retriever.sentences import sentence_spans

_WORDS = (8, 40)  # of a first sentence that is scored
_PARAGRAPH = 250  # words of an answer that is used, and of a passage
_SPLIT = "\x00"
_TASK = "Answer the question in the words of the passage that answers it."


@dataclass(frozen=True, slots=True)
class PassageQuestion:
    """Token ids: what precedes passages, the gold one, others in order, the question, the sentence.

    `place` is the share of the other passages that stand before the gold one.
    """

    id: str
    head: list[int]
    gold: list[int]
    others: list[list[int]]
    question: list[int]
    sentence: list[int]
    place: float

    def context(self, tokens: int) -> list[int]:
        """The head and passages, of so many tokens; the last passages may be cut."""
        room = tokens - len(self.head) - len(self.gold)
        fitting = sum(end <= room for end in accumulate(map(len, self.others)))
        before = round(self.place * fitting)
        passages = [*self.others[:before], self.gold, *self.others[before:]]
        return [*self.head, *chain.from_iterable(passages)][:tokens]


def passage_questions(path: Path, tokenizer: Any) -> Iterator[PassageQuestion]:
    """The questions of a KILT file whose golds are of a fit length, in an order of chance."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    usable = [record for record in records if len(_answer(record).split()) <= _PARAGRAPH]
    random = Random(0)
    random.shuffle(usable)
    user = [{"role": "user", "content": f"{_SPLIT}\n\n{_TASK}\nQuestion: {_SPLIT}?"}]
    chat = tokenizer.apply_chat_template(user, tokenize=False, add_generation_prompt=True)
    head, question, reply = chat.split(_SPLIT)
    passages = [_ids(tokenizer, _passage(record)) for record in usable]
    for record, gold in zip(usable, passages, strict=True):
        answer = _answer(record)
        sentence = answer[slice(*sentence_spans(answer)[0])]
        others = [passage for passage in passages if passage is not gold]
        random.shuffle(others)
        place = random.random()
        if _WORDS[0] <= len(sentence.split()) <= _WORDS[1]:
            asked = _ids(tokenizer, question + record["input"] + reply)
            said = _ids(tokenizer, sentence)
            ids = _ids(tokenizer, head)
            yield PassageQuestion(record["id"], ids, gold, others, asked, said, place)


def sentence_nll(model: Any, question: PassageQuestion, length: int) -> float:
    """Nats a token of the gold sentence, which ends a text of so many tokens."""
    reply = [*question.question, *question.sentence]
    return _nll(model, [*question.context(length - len(reply)), *reply], len(question.sentence))


def without_passages(model: Any, question: PassageQuestion) -> float:
    """The same where the model is only asked."""
    ids = [*question.head, *question.question, *question.sentence]
    return _nll(model, ids, len(question.sentence))


def _nll(model: Any, ids: list[int], scored: int) -> float:
    """The mean over the last `scored` tokens."""
    hidden = model.model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[0, -scored - 1 : -1]).float()
    return float(cross_entropy(logits, torch.tensor(ids[-scored:])))


def _passage(record: Any) -> str:
    title = record["output"][0]["provenance"][0]["title"]
    return f"{title}: {_answer(record)}\n\n"


def _answer(record: Any) -> str:
    return str(record["output"][0]["answer"])


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
