"""Public checkpoints as networks of VerA: generator, parser, embedder, perceptual network."""
