"""Training of the networks: data, losses, one recipe per network."""
