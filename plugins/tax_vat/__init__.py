"""Value-added tax: rates, decisions, checks of VAT numbers."""
