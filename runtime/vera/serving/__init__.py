"""What runs inside Triton's Python back end: the cases' model and the engines' models."""
