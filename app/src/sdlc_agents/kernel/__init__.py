"""What every service stands on: settings, clock, logs, metrics, database, broker, serving. It knows no domain."""
