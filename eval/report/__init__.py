"""What people read of a benchmark: tables, pictures, pages."""
