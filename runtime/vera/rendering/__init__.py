"""A generated face made to fit and laid into the photograph."""
