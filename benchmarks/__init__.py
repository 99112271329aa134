"""What is measured, and how to run it: `python -m benchmarks` prints every table. docs/performance.md says what they mean."""
