"""What docs/billing.md tells, day by day, is what is billed."""

import re

import pytest

from docs.readme_commands import README
from tests.lives import Life

pytestmark = pytest.mark.only_on("sqlite", reason="amounts are worked out in Python")
EXAMPLES = re.findall(r"```life\n(.*?)```", (README.parent / "docs" / "billing.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.splitlines()[-1].strip())
def test_an_example_is_billed_as_it_says(open_shop, text):
    assert Life(open_shop, text).tell() == text
