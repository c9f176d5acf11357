"""How long short jobs wait behind long ones: Portico, an ideal queue, and a fixed prefetch."""
