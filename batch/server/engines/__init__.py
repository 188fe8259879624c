"""What makes the images: the engine protocol, the registry, and the engines themselves."""
