"""Fields as Volume objects: reading their metadata, importing, levels of detail, exact placement."""
