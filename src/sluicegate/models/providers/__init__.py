"""What serves models: Ollama, LangChain providers, and the registry of names."""
