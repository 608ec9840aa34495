"""The gunicorn worker: connections are received and closed by one loop, answered by threads."""
