"""Linear datamodels: outputs predicted from subsets, and how well."""
