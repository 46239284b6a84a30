"""A policy behind the HTTP interface of OpenAI's chat completions, and a page to talk to it."""
