"""The driver: devices, their memory, tensors, loaded modules and sessions."""
