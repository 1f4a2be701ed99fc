"""Privacy audit: membership inference attacks on a store's runs, and which examples they detect."""
