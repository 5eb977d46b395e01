"""What a worker tells about itself: metrics, status, health, logs."""
