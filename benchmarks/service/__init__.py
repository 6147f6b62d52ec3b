"""The governed service beside an echo and beside model servers without governance, over HTTP on one core."""
