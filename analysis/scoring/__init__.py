"""Scores of training examples side by side: agreement, proxies, noisy labels."""
