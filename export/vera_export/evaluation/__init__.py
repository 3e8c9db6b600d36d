"""The quality report of a bundle: figures, contact sheets, and the model card's generated part."""
