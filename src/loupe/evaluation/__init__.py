"""Judging a policy question by question: conditions.py asks, answers.py keeps, figures.py counts."""
