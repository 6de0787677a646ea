import re
from pathlib import Path

from rag_rt.settings import Settings
from service.keys import KeySettings
from service.settings import ServiceSettings

COMPOSE = Path(__file__).parents[2] / "compose.yaml"
PLACES = {"RAG_RT_HOME", "RAG_RT_INDEX"}  # in the container: the volume


def test_compose_hands_on_every_setting_but_places() -> None:
    names = {
        f"{kind.model_config['env_prefix']}{field.upper()}"
        for kind in (Settings, ServiceSettings, KeySettings)
        for field in kind.model_fields
    }
    handed_on = re.findall(r"^ +- (RAG_RT_\w+)$", COMPOSE.read_text(), re.MULTILINE)
    assert set(handed_on) == names - PLACES
