"""Reading what streams have stored, in batches, without a consumer."""
