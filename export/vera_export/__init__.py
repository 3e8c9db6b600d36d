"""Training, export and checks of VerA's networks; the heavy side that needs torch."""
