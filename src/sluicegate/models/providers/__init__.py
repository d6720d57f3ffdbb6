"""Model providers: Ollama, LangChain's, and the registry of names."""
