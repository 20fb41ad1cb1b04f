"""A finished validation as a user sees it: plan, tables, pictures, the page."""
