"""Whether our SASRec is right: against an independent implementation, and against published figures."""
