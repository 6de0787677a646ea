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

    def asked(self, length: int) -> list[int]:
        """All before the sentence, in a text of so many tokens that the sentence ends."""
        room = length - len(self.question) - len(self.sentence)
        return [*self.context(room), *self.question]

    def asked_alone(self) -> list[int]:
        """The question without passages."""
        return [*self.head, *self.question]


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


def _passage(record: Any) -> str:
    title = record["output"][0]["provenance"][0]["title"]
    return f"{title}: {_answer(record)}\n\n"


def _answer(record: Any) -> str:
    return str(record["output"][0]["answer"])


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
