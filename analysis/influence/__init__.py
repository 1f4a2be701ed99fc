"""Every training example beside every test example: counted, selected, tested."""
