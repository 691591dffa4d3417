"""Metrics as the JSON of a request to an MLflow server."""

from __future__ import annotations

import json
import math

import pytest

from steplogd.delivery.mlflow_metrics import Sample, digest, encoded

SAMPLES = [
    Sample("loss", 0.1, 1_795_449_203_490, 3),
    Sample("a/b c", -0.0, 0, -(2**63)),
    Sample("größe", 5e-324, 253_402_300_799_999, 2**63 - 1),
    Sample("loss", 1.7976931348623157e308, 1, 0),
    Sample("loss", math.nan, 1, 1),
    Sample("loss", math.inf, 1, 2),
    Sample("loss", -math.inf, 1, 3),
]


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_request_says_what_mlflows_own_client_would(sample: Sample) -> None:
    """Number for number and name for name, with texts for what JSON has no number for."""
    from mlflow.entities import Metric
    from mlflow.protos.service_pb2 import LogBatch
    from mlflow.utils.proto_json_utils import message_to_json

    theirs = Metric(sample.key, sample.value, sample.timestamp, sample.step).to_proto()

    assert json.loads(message_to_json(LogBatch(metrics=[theirs])))["metrics"] == json.loads(
        encoded([sample])
    )


def test_metrics_are_told_apart_by_each_of_their_fields() -> None:
    """And equal ones have one digest, so that a mark that comes late proves the same."""
    others = [
        Sample("acc", 0.1, 1_795_449_203_490, 3),
        Sample("loss", 0.2, 1_795_449_203_490, 3),
        Sample("loss", 0.1, 1_795_449_203_491, 3),
        Sample("loss", 0.1, 1_795_449_203_490, 4),
    ]

    assert digest(encoded(SAMPLES)) == digest(encoded(list(SAMPLES)))
    assert len({digest(encoded([one])) for one in (SAMPLES[0], *others)}) == 5
