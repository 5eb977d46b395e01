"""Decodes untrusted images in child processes with limits on memory and time. It knows neither Kafka nor the model."""
