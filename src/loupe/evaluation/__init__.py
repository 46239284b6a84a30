"""Judging a policy question by question under several conditions."""
