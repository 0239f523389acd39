"""model.esp: written by `writer`, read back by `reader`; FORMAT.md is the specification."""
