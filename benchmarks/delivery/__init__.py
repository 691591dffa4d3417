"""Who delivers to MLflow, and what stands behind a server: the parts of the question `deliver`."""
