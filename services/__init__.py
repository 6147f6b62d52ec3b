"""Real servers for tests, benches and users, from packages, on private ports."""
