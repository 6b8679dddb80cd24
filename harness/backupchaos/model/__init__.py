"""What a scenario is: the typed, strict model behind the YAML files, and its loader."""
