"""The model: frozen backbone and base aligner, online adapter (Eq. 1), losses (Eq. 2 and 3), their trainers. Needs torch."""
