"""Judging a policy question by question: conditions ask, the journal keeps the answers, the report counts them."""
