import json
from pathlib import Path

import numpy as np
import pytest

from rag_rt.logistic import LogisticModel


def test_coefficients_come_back_as_they_were_saved(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    LogisticModel(np.array([1.5, -2.0]), 0.25).save(path, ("length", "place"), "Made here.")
    model = LogisticModel.load(path, ("length", "place"))
    assert (model.coefficients.tolist(), model.intercept) == ([1.5, -2.0], 0.25)
    assert "Made here." in path.read_text()
    np.testing.assert_allclose(model.probabilities(np.array([[0.0, 0.125], [1e9, 0.0]])), [0.5, 1])


def test_coefficients_of_other_features_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps({"intercept": 0.0, "coefficients": {"length": 1.0}}))
    with pytest.raises(ValueError, match=r"coefficients of length.*measures place"):
        LogisticModel.load(path, ("place",))
