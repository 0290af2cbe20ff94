"""Values and contracts of the whole suite; nothing here imports torch."""
