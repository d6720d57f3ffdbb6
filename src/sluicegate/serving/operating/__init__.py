"""What operators change while workflows serve, and who may: for the command line and the console alike."""
