"""How often gates are wrong, and how soon they are right: in simulated rollouts, where the truth is known."""
