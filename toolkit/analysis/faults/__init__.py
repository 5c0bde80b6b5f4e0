"""What failed, whose budget pays, and who means harm."""
