"""Which questions are told that the corpus does not cover them, at the relevance floor.

Reads derived Natural Questions in the KILT schema (not official KILT): a question is covered where
its gold page is in the index. Run: python -m benchmarks.coverage nq-long/dev.jsonl
"""

import json
import sys
from pathlib import Path

import numpy as np

from rag_rt.coverage import WORDLESS_RELEVANCE, covers
from rag_rt.requests import Request
from rag_rt.settings import load_settings
from retriever.encoders import Encoder
from retriever.index import Index
from retriever.searching import Retriever

FOREIGN = """\
Почему океан солёный?
Кто написал «Войну и мир»?
海はなぜ塩辛いのですか
ワクチンはどのように働きますか
为什么天空是蓝色的
¿Por qué es salado el mar?
Warum ist das Meer salzig?
Pourquoi la mer est-elle salée ?
لماذا البحر مالح؟
למה הים מלוח
समुद्र खारा क्यों है""".splitlines()
NONSENSE = """\
blorptastic zizzlewump snarf
asdf qwer zxcv
What is the flibbertigibbet coefficient of a quonset snarfblatt?
What did my aunt Gertrude cook for dinner yesterday?
How do I reset my Netgear router password?
how do I install the npm package left-pad
Who is the mayor of Springfield on Tuesday in the year 3021?
12345 67890""".splitlines()


def main(path: Path) -> None:
    settings = load_settings()
    retriever = Retriever(Index(settings.index_directory), Encoder(settings.encoder))
    passages = retriever.index.passages
    titles = {passage.title for passage in passages.rows(0, len(passages))}
    covered: list[str] = []
    uncovered: list[str] = []
    for line in path.read_text().splitlines():
        record = json.loads(line)
        pages = {p["title"] for o in record["output"] for p in o.get("provenance", [])}
        (covered if pages & titles else uncovered).append(record["input"])
    groups = {
        "gold page in the corpus": covered,
        "gold page not in the corpus": uncovered,
        "other languages": FOREIGN,
        "nonsense or private": NONSENSE,
    }
    floor = settings.min_relevance
    print("Derived data, not official KILT. Cosine of the best passage, and who is turned away:")
    print(
        f"below {floor} (or {WORDLESS_RELEVANCE} where no word is shared), or below {floor} alone\n"
    )
    print("| questions | number | 5 % | median | 95 % | turned away | by the floor alone |")
    print("|---|---|---|---|---|---|---|")
    for name, questions in groups.items():
        found = [retriever.search(question, Request.k) for question in questions]
        scores = np.array([hits[0].score for hits in found])
        away = [not covers(q, hits, floor) for q, hits in zip(questions, found, strict=True)]
        low, middle, high = np.percentile(scores, [5, 50, 95])
        print(
            f"| {name} | {len(scores)} | {low:.2f} | {middle:.2f} | {high:.2f} "
            f"| {np.mean(away):.0%} | {(scores < floor).mean():.0%} |"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
