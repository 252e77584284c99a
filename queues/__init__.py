"""A message switch as a Django app: named queues, acknowledged delivery and RPC."""
