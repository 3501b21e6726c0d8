"""Scene and render settings under which Blender shows what the trainer saw."""
