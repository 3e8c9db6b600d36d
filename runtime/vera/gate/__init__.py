"""What must hold before anything is written: distance, judges, coverage, seam."""
