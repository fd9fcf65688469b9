"""The command ``rpudriver``: what a person types, and what errors look like."""
