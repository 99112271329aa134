"""Documents: who prints them."""

from __future__ import annotations

from typing import Any

from core.hooks import hookspec


class DocumentHooks:
    """Hooks for paper, and what stands in for it."""

    @hookspec(failure="closed", deadline=20.0, network=True, firstresult=True)
    def render_invoice(self, document: dict[str, Any], locale: str) -> bytes | None:
        """Print an invoice or credit note as a PDF.

        Called:   when one is asked for, with no transaction open; also by other plugins, through `PluginContext.hooks`.
        document: as `GET /v1/invoices/{invoice}` answers. What it says of later (status, paid, due, payment_instructions, credit_notes)
                  may be left out, and is not to be printed: a document stays as it was issued.
        locale:   the language it was issued in, as a tag: `es`, `es-MX`.
        Returns:  the file. The same document gives the same bytes.
        None:     "not my case"; the next plugin is asked, and if nobody answers there is nothing to read.
        Errors:   anything raised is a bug of the plugin.
        Failure:  closed - the request fails and names the plugin.
        """
