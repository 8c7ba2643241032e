"""How much each coupled channel matters."""
