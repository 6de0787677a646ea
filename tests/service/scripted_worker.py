"""The real worker process over a pipeline that does what its question says, at once.

A question is made of words `name=value`: `steps` turns of `each` seconds, each of which tells a
word and `size` more letters; `fails` ends it by what is named: an exception, `kill` or `hang`.
With `fails=index` the index is out of reach from then on.
"""

import os
import signal
import time
from types import SimpleNamespace
from typing import Any

from rag_rt.answers import Answer, FinishReason, Status, Timings, Usage
from rag_rt.events import Finished, Retrieved, Turns, Wrote
from rag_rt.requests import Request
from retriever.errors import RetrieverError
from retriever.passages import Hit, Passage
from service.worker import Load, connection, serve

HIT = Hit(
    Passage("p:1", "p", "Page", "<script>alert(1)</script>", "https://x.test/p", 0, 25), 0.9, 1, 0.9
)


class ScriptedRetriever:
    """Finds one passage."""

    encoder = SimpleNamespace(name="script")
    lost = False

    @property
    def corpus(self) -> Any:
        if self.lost:
            raise RetrieverError("no shard answers")
        return SimpleNamespace(passages=1, pages=1, source="a script")

    def find(self, passage_id: str) -> Passage:
        return HIT.passage

    def search(self, question: str, k: int, retrieval: str) -> list[Hit]:
        return [HIT] * k


class Scripted:
    """A pipeline without models."""

    generator = SimpleNamespace(name="script")
    retriever: Any = ScriptedRetriever()

    def turns(self, request: Request) -> Turns:
        script = dict(word.split("=") for word in request.question.split() if "=" in word)
        steps, each = int(script.get("steps", "3")), float(script.get("each", "0"))
        yield Retrieved((HIT,))
        for step in range(steps):
            time.sleep(each)
            yield None
            yield Wrote(f"{step}:{request.seed} " + "x" * int(script.get("size", "0")))
        _fail(script.get("fails", ""))
        yield Finished(
            Answer(
                question=request.question,
                text="".join(f"{step}:{request.seed} " for step in range(steps)),
                status=Status.ANSWERED,
                sentences=(),
                hits=(HIT,),
                usage=Usage(1, steps, FinishReason.STOP),
                timings=Timings(0, 0, steps * each, 0, steps * each),
            )
        )


def _fail(how: str) -> None:
    match how:
        case "error":
            raise RuntimeError("the secret of the house")
        case "memory":
            bytearray(2**60)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "index":
            ScriptedRetriever.lost = True
            raise RetrieverError("no shard answers")
        case "hang":
            os.kill(os.getpid(), signal.SIGSTOP)


def _load() -> Load:
    time.sleep(float(os.environ.get("SCRIPT_LOADS", "0")))
    return lambda settings: Scripted()


if __name__ == "__main__":
    serve(connection(), _load)
