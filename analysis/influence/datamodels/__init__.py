"""Linear datamodels: outputs predicted from subsets, and their scores."""
