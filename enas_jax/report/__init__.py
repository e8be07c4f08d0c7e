"""All that a person sees of a run: words, tables, the live bar, drawings."""
