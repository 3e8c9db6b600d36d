"""The inversion, and the new people that take the patient's place."""
