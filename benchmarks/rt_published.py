"""The published model's shape (490,718,460 parameters) with weights rebuilt from a rule.

The rule and the list of variables lie beside the checkout; see `tests/rag_rt/routing_transformer`.
"""

from pathlib import Path

from rag_rt.models.routing_transformer import RoutingTransformerForCausalLM
from rag_rt.models.routing_transformer.conversion import load_model
from tests.rag_rt.routing_transformer.rebuilt import RebuiltVariables

_FIXTURE = Path(__file__).resolve().parents[2] / "shared/golden/routing_transformer/real_eli5"


def published_model() -> RoutingTransformerForCausalLM:
    """The model in float32.

    Raises:
        SystemExit: the list of its variables is not there.
    """
    if not _FIXTURE.is_dir():
        raise SystemExit(f"needs the recorded fixture {_FIXTURE.name} beside the checkout")
    return load_model(RebuiltVariables.of_real_model(_FIXTURE), {})
