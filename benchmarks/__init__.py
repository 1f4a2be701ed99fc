"""Measurements that need peers or large data: accuracy beside published scripts, speed beside other ways to train."""
