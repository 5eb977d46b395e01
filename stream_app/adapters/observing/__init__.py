"""What a worker reports about itself: metrics, status, health, logs. It is told everything and never asks Kafka."""
