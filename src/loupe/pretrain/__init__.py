"""The miniature's base: what it is taught, how, and how its skills are measured."""
