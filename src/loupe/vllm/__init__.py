"""vLLM as the decoder of rollouts: requests, weights, and the check that both sides compute the same."""
