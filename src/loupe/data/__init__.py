"""Data sets of questions about pictures: the miniature's rendered signs, and the readers of published benchmarks."""
