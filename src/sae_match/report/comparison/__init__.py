"""Several finished runs side by side: tables, pictures."""
