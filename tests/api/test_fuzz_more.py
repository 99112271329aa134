"""As test_fuzz, at length. Its cases are made up as it is collected, which the default run does without (tests/conftest.py)."""

import pytest
from hypothesis import Phase, settings

from tests.api.test_fuzz import CALM, api, call, shop

__all__ = ["shop"]


@pytest.mark.slow
@api.parametrize()
@settings(max_examples=50, phases=(Phase.explicit, Phase.generate), **CALM)
def test_every_answer_to_many_more_requests_is_one_that_the_document_allows(case):
    call(case)
