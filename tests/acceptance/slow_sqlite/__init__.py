"""A database backend for Django: SQLite that takes 200 ms for each commit."""
