"""Shows a run to people: words, tables, the live bar, drawings, pages."""
