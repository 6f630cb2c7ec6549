"""The transfer benchmark of docs/benchmark.md: its runs, records, statistics and claims."""
