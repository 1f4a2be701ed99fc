"""Campaigns, subsets, data sets, models, training and the store: what runs on a worker."""
