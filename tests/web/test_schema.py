"""The desk's OpenAPI, tried by schemathesis: what is asked as it says is answered as it says."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.web.conftest import serving

CHECKS = (
    *(not_a_server_error, status_code_conformance, content_type_conformance),
    *(response_headers_conformance, response_schema_conformance),
)
"""Not those that what the schema allows is taken: it does not say what a photo is."""


@pytest.mark.slow
def test_what_is_asked_as_described_is_answered_as_described(build):
    with serving(build()) as ((host, port), _):
        described = schemathesis.openapi.from_url(f"http://{host}:{port}/api/v1/openapi.json")
        statuses = {}
        for found in described.get_all_operations():
            operation = found.ok()
            name = f"{operation.method} {operation.path}"
            statuses[name] = try_out(operation)
    assert len(statuses) == len(list(described.get_all_operations()))
    assert all(statuses.values())


def try_out(operation):
    """The statuses of what it was asked."""
    found = set()

    @settings(
        max_examples=25, derandomize=True, deadline=None, suppress_health_check=[*HealthCheck]
    )
    @given(case=operation.as_strategy())
    def check(case):
        found.add(case.call_and_validate(checks=CHECKS).status_code)

    check()
    return found
