"""Plans and runs campaigns."""
