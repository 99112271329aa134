"""For the tests of plugins: a whole shop (`shop`), and a conformance kit per kind of plugin (`payments`, `documents`)."""

import pytest

pytest.register_assert_rewrite("puesto.testing.payments", "puesto.testing.documents")

from puesto.testing.documents import DocumentPrinterContract  # noqa: E402
from puesto.testing.payments import PaymentProviderContract  # noqa: E402 - what it asserts is rewritten from here on

__all__ = ["DocumentPrinterContract", "PaymentProviderContract"]
