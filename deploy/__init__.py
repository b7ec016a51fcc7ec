"""What people start: the embedded broker and store, the demo, the doctor."""
