"""Models in this process: weights, llama.cpp, the sentence encoder in numpy."""
