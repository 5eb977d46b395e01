"""Looks at a data set before anybody trains on it: counts, leaks, broken pictures, a sheet of samples."""
