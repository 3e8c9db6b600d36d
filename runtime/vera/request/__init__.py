"""What is asked to be kept, and by how much it is grown."""
