"""Make this project's models known to transformers' auto classes.

`import rag_rt` must not import transformers, which takes two seconds. So each class is registered
when the module of its auto class is imported, whoever imports it.
"""

from types import ModuleType

from wrapt import when_imported

_AUTO = "transformers.models.auto"


def register_models() -> None:
    """Register now with the auto classes that are imported already, later with the others."""
    when_imported(f"{_AUTO}.configuration_auto")(_register_configuration)
    when_imported(f"{_AUTO}.modeling_auto")(_register_model)
    when_imported(f"{_AUTO}.tokenization_auto")(_register_tokenizer)


# Each imports only what transformers has loaded at that moment: its modules import each other.


def _register_configuration(auto: ModuleType) -> None:
    from rag_rt.models.routing_transformer.configuration import RoutingTransformerConfig as Config

    auto.AutoConfig.register(Config.model_type, Config)


def _register_model(auto: ModuleType) -> None:
    from rag_rt.models.routing_transformer.configuration import RoutingTransformerConfig as Config
    from rag_rt.models.routing_transformer.modeling import RoutingTransformerForCausalLM

    auto.AutoModelForCausalLM.register(Config, RoutingTransformerForCausalLM)


def _register_tokenizer(auto: ModuleType) -> None:
    from rag_rt.models.routing_transformer.configuration import RoutingTransformerConfig as Config
    from rag_rt.models.routing_transformer.tokenization import RoutingTransformerTokenizer

    auto.AutoTokenizer.register(Config, slow_tokenizer_class=RoutingTransformerTokenizer)
