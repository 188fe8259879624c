"""schemathesis against the description of a running server: no 5xx, and no answer that is not described.

What a schema cannot say (a span of days, a data URL, two fields of a fault that contradict each other) is refused by a
described 4xx, so "every request that fits its schema is accepted" is the one check left out. The controls have a
server of their own: what they set may spoil the answers of the others. All of it is slow, and this file is collected only
for that tier (see conftest.py): loading schemathesis takes each process a second.
"""

from __future__ import annotations

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from batch.core.parameters import MODEL
from batch.server import LocalApi
from batch.server.http.openapi import describe

pytest_plugins = ["schemathesis.pytest.plugin"]
pytestmark = pytest.mark.slow

KEY = "SG_schemathesis"
CONTROLS = "^/_local/"


def described(*, boundaries):
    """Load the description, which is the same for every server but for its URL."""
    schema = schemathesis.openapi.from_dict(describe("http://127.0.0.1"))
    schema.config.update(headers={"x-api-key": KEY})
    schema.config.generation.update(modes=list(GenerationMode))
    schema.config.phases.coverage.enabled = boundaries
    return schema


SHORT, LONG = described(boundaries=False), described(boundaries=True)


def drawn(examples):
    """Draw the same cases each time, and keep none on disk."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[phase for phase in Phase if phase is not Phase.explain],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def service():
    with LocalApi(engine="placeholder", seed=1, api_key=KEY) as api:
        done = httpx.post(
            f"{api.base_url}/v1/{MODEL}", json={"prompt": "to be found"}, headers={"x-api-key": KEY}
        )
        assert done.status_code == 200
        yield api


@pytest.fixture(scope="module")
def controlled():
    with LocalApi(engine="placeholder", seed=1, api_key=KEY) as api:
        yield api


def judge(case, api):
    """Send a generated request and hold the answer against the description."""
    case.call_and_validate(
        base_url=api.base_url, excluded_checks=[positive_data_acceptance], timeout=10, headers={}
    )


def test_the_server_describes_itself_as_tested_here(service):
    served = httpx.get(f"{service.base_url}/openapi.json").json()
    assert served == describe(service.base_url)
    assert {"not_a_server_error", "status_code_conformance", "response_schema_conformance"} <= {
        check.__name__ for check in CHECKS.get_all()
    }


@SHORT.exclude(path_regex=CONTROLS).parametrize()
@drawn(8)
def test_the_service_answers_as_described(case, service):
    judge(case, service)


@SHORT.include(path_regex=CONTROLS).parametrize()
@drawn(8)
def test_the_controls_answer_as_described(case, controlled):
    judge(case, controlled)


@LONG.exclude(path_regex=CONTROLS).parametrize()
@drawn(300)
def test_the_service_answers_as_described_at_length(case, service):
    judge(case, service)


@LONG.include(path_regex=CONTROLS).parametrize()
@drawn(300)
def test_the_controls_answer_as_described_at_length(case, controlled):
    judge(case, controlled)


def test_calls_that_follow_each_other_answer_as_described(service):
    """Request ids of a submit go into polls, results and history."""

    class Session(LONG.exclude(path_regex=CONTROLS).as_state_machine()):
        def get_call_kwargs(self, _case):
            return {"base_url": service.base_url, "headers": {"x-api-key": KEY}, "timeout": 10}

        def validate_response(self, response, case, **_):
            case.validate_response(response, excluded_checks=[positive_data_acceptance])

    Session.run(settings=drawn(40))
