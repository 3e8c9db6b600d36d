"""Several cases at once: who works, who waits, and how their steps share the machine."""
