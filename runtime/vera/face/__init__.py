"""A face as the engines see it: found, aligned, described."""
