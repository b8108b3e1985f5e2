"""What users hold: events, acknowledgements, the interface of dedupe stores."""
