"""What routers and guards are fitted with: similarities to landmarks, and thresholds with a proved bound."""
