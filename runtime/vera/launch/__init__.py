"""A Triton server started, watched and stopped; nothing here runs inside it."""
