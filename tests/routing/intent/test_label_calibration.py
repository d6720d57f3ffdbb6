"""Label decoding's confidence on real weights: calibrated on the probe's domains, checked on another's requests."""

import json
import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sluicegate.models.chain import ModelSet
from sluicegate.models.config import ModelConfig
from sluicegate.models.probes import probe_results
from sluicegate.models.probes.probe import label_scale
from sluicegate.models.probes.probe_results import Result
from sluicegate.models.providers.registry import provider_for
from sluicegate.routing.intent.slm import LabelDecoder
from sluicegate.services import LabelScale
from tests.support import ROOT

pytestmark = pytest.mark.slow

SMALL = ModelConfig(use="embedded:smollm2-135m", timeout_s=600)
ROWS = 24


async def test_a_model_whose_letters_tell_nothing_is_sure_of_nothing() -> None:
    """The helpdesk's requests are of no domain of the probe. As the model says it, it is sure and mostly wrong."""
    lines = (ROOT / "configs" / "helpdesk" / "examples" / "eval.jsonl").read_text("utf-8").splitlines()
    rows = random.Random(5).sample([json.loads(line) for line in lines], ROWS)
    labels = sorted({row["label"] for row in map(json.loads, lines)})[:20]
    rows = [row for row in rows if row["label"] in labels]
    provider = provider_for(SMALL)
    scale = await label_scale(provider)
    assert scale is not None
    assert scale.said <= 0.3
    measured = Result("label", 18, 22, 1.0, "probe", datetime.now(UTC).isoformat(), scale)
    probe_results.keep(await provider.identity(), measured)
    models = ModelSet({"slm": SMALL})
    assert await models.label_scale("slm") == scale
    decoder = LabelDecoder(models, "slm")
    claimed = right = 0.0
    for row in rows:
        found = await decoder.decode(row["text"], labels)
        best = max(found, key=lambda label: found[label])
        claimed += found[best] / len(rows)
        right += (best == row["label"]) / len(rows)
        assert found[best] < 0.9
    assert claimed <= right + 0.2
    probe_results.keep(await provider.identity(), replace(measured, scale=LabelScale(1.0, 1.0)))
    loud = [max((await decoder.decode(row["text"], labels)).values()) for row in rows[:8]]
    assert sum(loud) / len(loud) > claimed, "believed as it stands, the same model is surer"
