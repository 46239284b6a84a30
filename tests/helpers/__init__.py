"""What several test files share, apart from the fixtures and scripted rollouts of conftest.py."""
