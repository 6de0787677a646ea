"""Scoring on KILT: the official figures, bit for bit, and what they leave out."""
