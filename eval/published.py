"""Published figures on KILT ELI5, in percent, each with its source. None was measured by us.

Sources:
    KILT: Petroni et al., "KILT: a Benchmark for Knowledge Intensive Language Tasks", NAACL 2021
        (arXiv 2009.02252), Table 16.
    Hurdles: Krishna, Roy, Iyyer, "Hurdles to Progress in Long-form Question Answering", NAACL 2021
        (arXiv 2103.06332): the README of its repository, martiansideofthemoon/hurdles-longform-qa
        at 805baf7, and the leaderboard's figures on its paperswithcode page. RT is the Routing
        Transformer.
"""

from dataclasses import dataclass
from typing import Literal

KILT_PAPER = "Petroni et al. 2021 (KILT, arXiv 2009.02252), Table 16"
HURDLES_CODE = "Krishna et al. 2021 (Hurdles, arXiv 2103.06332), README of its code at 805baf7"
HURDLES_LEADERBOARD = "Krishna et al. 2021 (Hurdles, arXiv 2103.06332), paperswithcode page"


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One system on one split of KILT ELI5; figures in percent."""

    system: str
    split: Literal["dev", "test"]
    rprec: float
    recall_at_5: float
    rougel: float
    f1: float
    kilt_rougel: float
    kilt_f1: float
    source: str


SYSTEMS = (
    PublishedRow("T5 (base)", "dev", 0.0, 0.0, 21.02, 18.36, 0.0, 0.0, KILT_PAPER),
    PublishedRow("BART (large)", "dev", 0.0, 0.0, 22.69, 22.19, 0.0, 0.0, KILT_PAPER),
    PublishedRow("RAG", "dev", 16.39, 27.27, 16.11, 17.24, 2.65, 2.88, KILT_PAPER),
    PublishedRow("BART + DPR", "dev", 16.32, 21.11, 18.53, 18.75, 2.87, 2.89, KILT_PAPER),
    PublishedRow(
        "c-REALM + RT, p = 0.6",
        "dev",
        # The scorer's output in full, in percent and rounded to two digits.
        13.26,
        21.23,
        24.42,
        25.57,
        3.21,
        3.41,
        HURDLES_CODE,
    ),
    PublishedRow("T5 (base)", "test", 0.0, 0.0, 19.08, 16.1, 0.0, 0.0, KILT_PAPER),
    PublishedRow("BART (large)", "test", 0.0, 0.0, 20.55, 19.23, 0.0, 0.0, KILT_PAPER),
    PublishedRow("RAG", "test", 11.0, 22.92, 14.05, 14.51, 1.69, 1.79, KILT_PAPER),
    PublishedRow("BART + DPR", "test", 10.67, 26.92, 17.41, 17.88, 1.9, 2.01, KILT_PAPER),
    PublishedRow(
        "c-REALM + RT",
        "test",
        10.67,
        24.56,
        23.19,
        22.88,
        2.36,
        2.34,
        HURDLES_LEADERBOARD,
    ),
)

# ROUGE-L of trivial systems on the ELI5 dev set of KILT (HURDLES_CODE), as written there.
BOUNDS = {
    "copy_input": "20.0",
    "random_train_ans": "15.8-16.2",
    "random_train_ans_longest": "up to 16.7",
    "longest_gold": "21.2",
    "best_gold": "26.2",
}
