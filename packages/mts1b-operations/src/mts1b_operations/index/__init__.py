"""The index of events: from an order, intent, signal, halt, trace or message id to where its events lie."""
