"""From predictions to figures: calibration, thresholds, metrics, comparisons, reports. Numpy only, no PyTorch."""
