"""A model repository for Triton, rendered from the contract and a bundle; needs no torch."""
