"""Which pixels of a photograph are replaced, and which are kept."""
