"""From rows to weights: configuration, loop or probe, run folder. It never touches the test split."""
