"""Training on a Ray cluster: the only package that imports Ray, beside recipe search."""
