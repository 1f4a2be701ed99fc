"""How a notebook shows examples: frames as tables, with their images."""
