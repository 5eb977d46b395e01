"""Rows to arrays and texts to tokens, as serving prepares them; and what training changes in them."""
