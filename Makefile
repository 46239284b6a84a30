.PHONY: install train test slow lint types bench

install:
	pip install -r requirements.txt

train:
	python src/train.py

test:
	pytest

slow:
	pytest -m slow

lint:
	ruff check . && ruff format --check .

types:
	mypy

bench:
	python benchmarks/step.py
