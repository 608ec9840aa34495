"""Live calls: AMI events become calls, and calls become events for streams and webhooks."""
