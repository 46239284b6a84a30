"""report.html: the page of a run, an evaluation or a sweep, which a browser opens without a network or a server."""
