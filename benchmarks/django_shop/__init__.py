"""The application that `bench_django` changes: one model of ten columns."""
