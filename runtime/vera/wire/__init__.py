"""The messages between client and server: what each tensor and JSON field means, on both sides."""
