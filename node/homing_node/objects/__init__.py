"""Objects: their activations, what waits for them, and the gates that hold what leaves. See docs/gates.md."""
