"""For the tests of plugins: a whole shop (`shop`), and a conformance kit per kind of plugin (`payments`)."""

import pytest

pytest.register_assert_rewrite("puesto.testing.payments")

from puesto.testing.payments import PaymentProviderContract  # noqa: E402 - what it asserts is rewritten from here on

__all__ = ["PaymentProviderContract"]
