"""What is told of calls beside the log: counters for Prometheus, spans for OpenTelemetry. Decides nothing."""
