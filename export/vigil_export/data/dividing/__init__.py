"""Rows to splits and folds, by whole groups."""
