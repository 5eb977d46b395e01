"""From what the live system decided and what reviewers found to new training rows."""
