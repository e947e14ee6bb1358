"""What becomes of readers and writers when the store's server, or the way to it, fails."""
