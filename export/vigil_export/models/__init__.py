"""Models: encoders of both sides and a fusion head, put together from a spec (`vigil_export.models.model`)."""
