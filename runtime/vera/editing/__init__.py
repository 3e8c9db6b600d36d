"""Editing of a face: inverted from a photograph, saved, or drawn; part by part or by what shows."""

from vera.editing.editor import Editor
from vera.editing.grammar import parse_edit
from vera.editing.latent_file import load_latents, save_latents
from vera.editing.state import Face, Step

__all__ = ["Editor", "Face", "Step", "load_latents", "parse_edit", "save_latents"]
