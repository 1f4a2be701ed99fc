"""All scores of the training examples side by side: how far they agree, and what they find."""
