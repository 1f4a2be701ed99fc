"""Notebook display of frames with the images of their examples."""
