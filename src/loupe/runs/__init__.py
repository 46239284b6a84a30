"""One run of a command from its configuration to what it leaves in its folder; and sweeps over many."""
