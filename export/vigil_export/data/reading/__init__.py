"""The format on disk: folders to rows, and rows to folders. It opens no picture."""
