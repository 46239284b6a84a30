"""Loading, building and saving policies."""
