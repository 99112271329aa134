"""Documents: news of them, and who prints them."""

from __future__ import annotations

from typing import Any

from core.hooks import hookspec
from core.hooks.events import Event


class DocumentHooks:
    """Hooks for invoices, credit notes, and the paper they are printed on."""

    @hookspec(failure="retry", deadline=60.0, network=True)
    def credit_note_issued(self, event: Event) -> None:
        """An invoice was corrected by a credit note. What an order credits stands in its document, which `order_completed` brings.

        Called:  from the outbox after commit, once or more often.
        event:   data {account, credit_note}; credit_note.settlement.kind says where the amount goes: `refunded`, `reduced` (it need not be
                 paid any more) or `credit` (of the account). event.subject is the order's id.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

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
