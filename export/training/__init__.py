"""From rows to weights: recipe, Lightning module, run folder. It never touches the test split."""
