"""A pretrained Llama-family decoder by our own forward pass, with dense or routed attention."""

from rag_rt.models.routed_decoder.configuration import DecoderConfig
from rag_rt.models.routed_decoder.decoder import RoutedDecoder
from rag_rt.models.routed_decoder.packing import Precision

__all__ = ["DecoderConfig", "Precision", "RoutedDecoder"]
