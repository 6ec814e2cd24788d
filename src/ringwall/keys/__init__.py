"""Root keys behind one provider interface."""
