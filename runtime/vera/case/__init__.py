"""The path of one case, from photographs to outcomes."""
