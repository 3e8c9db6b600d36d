"""Pixels and geometry: alignment, part maps, shapes; no engine, no file."""
